"""A database of the version in tests/fixtures/upgrade, upgraded to this version."""

from docmill.worker.admin.schema import apply_schema, check_schema
from docmill.worker.maintenance.schedule import COPIES
from tests.schema import actors
from tests.support.database import INDEX, Database, as_client
from tests.support.upgrade_fixture import FOLDER, TEXTS


def test_an_older_database_is_upgraded_and_keeps_what_it_knows(project: Database) -> None:
    with project.connect() as connection:
        for name in ("schema.sql", "data.sql"):
            # PostgreSQL 16 and older do not have this setting, and 0 is its default.
            dump = (FOLDER / name).read_text().replace("SET transaction_timeout = 0;", "")
            connection.execute(dump.encode())
        connection.execute("discard all")
        before = {row["id"]: row["state"] for row in _jobs(connection)}
    assert set(before.values()) == {
        *("succeeded", "failed", "cancelled", "superseded", "running", "queued"),
    }
    with project.connect() as connection:
        apply_schema(connection, INDEX)
        assert check_schema(connection) == []
        assert apply_schema(connection, INDEX).changed is False
        assert {row["id"]: row["state"] for row in _jobs(connection)} == before
    for owner, texts in (("alice", [t for found in TEXTS.values() for t in found]), ("bob", [])):
        with as_client(project, {"sub": owner}, read_only=True) as client:
            for text in texts:
                assert actors.search(client, text, match_count=1)[0]["content"] == text
            seen = {row["content"] for row in actors.search(client, "anything", match_count=50)}
            assert seen.isdisjoint(set(sum(TEXTS.values(), ())) - set(texts))
    with project.connect() as connection:
        # Work continues: the vanished worker's job is taken back, an upload becomes a job.
        connection.execute("update ingest_private.leases set expires_at = now() - interval '1 s'")
        assert actors.value(connection, "select count(*) from ingest_private.rescue_jobs()") == 1
        # The schedule adds what older releases did not store beside chunks, the titles last.
        for copy in COPIES:
            while actors.value(connection, "select ingest_private.fill_chunks(%s, 1)", copy):
                pass
    with as_client(project, {"sub": "alice"}, read_only=True) as client:
        found = actors.rows(client, "select content from ingest.hybrid_search('title')")
        assert {row["content"] for row in found} == {texts[0] for texts in TEXTS.values()}
    actors.upload(project, "new.txt", ["Written after the upgrade."])


def _jobs(connection: actors.Connection) -> list[actors.Row]:
    return actors.rows(connection, "select id, state from ingest.jobs")
