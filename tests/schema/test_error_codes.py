"""The database has the same list of errors as the code."""

from docmill.worker.errors import ERROR_CODES
from tests.schema.actors import Connection, rows


def test_the_table_has_the_codes_and_kinds_of_the_code(shared: Connection):
    found = rows(shared, "select code, kind from ingest_private.error_codes")
    assert {row["code"]: row["kind"] for row in found} == {
        code: error.kind.value for code, error in ERROR_CODES.items()
    }


def test_every_code_has_a_message_and_a_remedy_in_whole_sentences(shared: Connection):
    for row in rows(shared, "select * from ingest_private.error_codes"):
        for text in (row["message"], row["remedy"]):
            assert text[0].isupper(), row
            assert text.endswith("."), row
            assert text == text.strip(), row


def test_a_code_that_may_hold_a_job_is_waiting_or_configuration(shared: Connection):
    """A hold reason has the name of its code, if there is one."""
    kinds = {
        row["code"]: row["kind"] for row in rows(shared, "select * from ingest_private.error_codes")
    }
    assert kinds["owner_budget_exceeded"] == kinds["paused"] == "waiting"
