"""How `docmill reindex documents` reads its options."""

from typing import Any

import pytest

from docmill.cli.rereading import choice_of
from docmill.worker.errors import UsageError


@pytest.mark.parametrize(
    ("wanted", "choice"),
    [
        ({"outdated": True, "owner": None}, {"outdated": True}),
        ({"source": "docs"}, {"bucket": "docs"}),
        ({"source": "docs/a/b"}, {"bucket": "docs", "prefix": "a/b"}),
        ({"unread_pages": True, "outdated": True}, {"unread_pages": True, "outdated": True}),
        ({"older_than": "30d", "failed": "corrupt"}, {"older_than": "30d", "failed": "corrupt"}),
    ],
)
def test_names_what_was_asked_for(wanted: dict[str, Any], choice: dict[str, Any]):
    assert choice_of(wanted) == choice


@pytest.mark.parametrize(
    "wanted",
    [
        {"outdated": False, "source": None},
        {"outdated": True, "failed": "corrupt"},
        {"older_than": "30"},
        {"older_than": "1 month"},
        {"older_than": "0d"},
    ],
)
def test_refuses_what_says_nothing(wanted: dict[str, Any]):
    with pytest.raises(UsageError):
        choice_of(wanted)
