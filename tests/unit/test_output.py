"""Texts for people: names as they know them, and errors with a remedy."""

import pytest

from docmill.cli.output import short_name
from docmill.cli.unexpected import explain_job_error
from docmill.worker.errors import ERROR_CODES, JobError

ID = "a11ce000-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("name", "owner", "shown"),
    [
        (f"{ID}/plans/a.pdf", ID, "plans/a.pdf"),
        (f"{ID}/a.pdf", None, "a.pdf"),
        ("user_2abc/a.pdf", "user_2abc", "a.pdf"),
        (f"{ID}/a.pdf", "somebody else", f"{ID}/a.pdf"),
        ("a.pdf", None, "a.pdf"),
        (f"{ID}", None, ID),
        ("a\x1b[31m.pdf", None, "a?[31m.pdf"),
    ],
)
def test_a_name_is_shown_without_the_folder_of_its_owner(
    name: str, owner: str | None, shown: str
) -> None:
    assert short_name({"object_name": name, "owner_id": owner}) == shown


@pytest.mark.parametrize("code", ERROR_CODES)
def test_an_error_of_a_job_tells_a_command_what_to_do(code: str) -> None:
    seen, remedy = explain_job_error(JobError(code, "APIConnectionError"))
    assert seen.endswith("(APIConnectionError)")
    assert len(remedy.split()) > 3
    if code in ("provider_unavailable", "storage_unavailable", "database_unavailable"):
        assert "by itself" not in remedy, "nothing tries a command again"
        assert "_URL" in remedy
