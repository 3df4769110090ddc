"""The schema as migrations of the Supabase CLI gives the same database as `schema apply`."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from docmill.embedded.postgres import PostgresServer
from docmill.worker.admin import schema
from docmill.worker.admin.export import ExportedSchema, export_schema, next_version
from docmill.worker.admin.schema import SqlFile, sql_files
from docmill.worker.errors import SchemaError, UsageError
from docmill.worker.models import IndexSettings
from tests.schema.actors import rows, search, upload, value
from tests.schema.test_apply import DRIFTS, apply, check, dump
from tests.support.database import INDEX, Database, as_client, make_database, watch_bucket
from tests.support.supabase_cli import find_cli, push, run_cli, split

NOW = datetime(2026, 11, 24, 12, 30, 15, tzinfo=UTC)
FIRST = "20261124123015_docmill_schema.sql"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The migrations folder of a project that has none yet."""
    (tmp_path / "supabase").mkdir()
    return tmp_path / "supabase" / "migrations"


@pytest.fixture
def twin(any_postgres: PostgresServer) -> Iterator[Database]:
    """A second project without docmill's schema, beside `any_project`."""
    with make_database(any_postgres, "project") as made:
        yield made


@pytest.fixture
def other_project(postgres: PostgresServer) -> Iterator[Database]:
    """A second project without docmill's schema."""
    with make_database(postgres, "project") as made:
        yield made


def export(folder: Path, index: IndexSettings = INDEX, now: datetime = NOW) -> ExportedSchema:
    return export_schema(folder, index, now)


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def state(database: Database) -> str:
    """The whole database, without the CLI's table and without times."""
    with database.connect() as connection:
        connection.execute("drop schema if exists supabase_migrations cascade")
    return re.sub(r"'2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d[^']*'", "'then'", dump(database))


@contextmanager
def release(
    monkeypatch: pytest.MonkeyPatch, *, migration: str | None = None, function: str | None = None
) -> Iterator[None]:
    """The next release of docmill: with one more migration, or with one changed function."""
    real = schema.sql_files

    def files(name: str) -> list[SqlFile]:
        found = real(name)
        if name == "migrations" and migration:
            return [*found, SqlFile("9999_more.sql", migration)]
        if name == "functions" and function:
            return [SqlFile(f.name, f.text + (function if "081_" in f.name else "")) for f in found]
        return found

    with monkeypatch.context() as patch:
        patch.setattr(schema, "sql_files", files)
        yield


MORE = "create table ingest_private.more (id extensions.halfvec(3), note text default 'it''s $$');"
CHANGED = """
create or replace function ingest_private.active_index_version()
returns table (id integer, model text, dimensions integer, chunking jsonb)
language sql stable security definer set search_path = '' as $$
    select id, model, dimensions, chunking from ingest.index_versions
     where state = 'active' order by id
$$;
"""


class TestWhatAFileDoes:
    @pytest.mark.parametrize(("place", "role"), [("extensions", "postgres"), ("public", None)])
    def test_is_what_apply_does(
        self, any_project: Database, twin: Database, folder: Path, *, place: str, role: str | None
    ):
        for database in (any_project, twin):
            with database.connect() as connection:
                connection.execute(f"alter extension vector set schema {place}".encode())
        export(folder)
        assert push(twin, folder, role) == [FIRST]
        apply(any_project, role)
        assert "CREATE FUNCTION ingest.match_chunks" in (made := state(any_project))
        assert state(twin) == made
        assert check(twin, role) == []
        assert not apply(twin, role).changed
        assert state(twin) == made

    def test_is_enough_to_ingest_and_search(self, project: Database, folder: Path):
        export(folder)
        push(project, folder)
        watch_bucket(project)
        upload(project, "a.txt", ["the first chunk", "the second chunk"])
        with as_client(project, {"sub": "alice"}) as client:
            hits = search(client, "the second chunk")
        assert [hit["content"] for hit in hits] == ["the second chunk", "the first chunk"]

    def test_makes_pgvector_where_it_is_missing(self, project: Database, folder: Path):
        with project.connect() as connection:
            connection.execute("drop extension vector")
        export(folder)
        push(project, folder, None)
        assert check(project, None) == []

    def test_makes_the_index_of_the_settings(self, project: Database, folder: Path):
        index = IndexSettings("o'clock $docmill$ \\ %s", 64, {"max_tokens": 99, "note": "it's"})
        assert export(folder, index).index == index
        push(project, folder)
        with project.connect() as connection:
            [made] = rows(connection, "select * from ingest.index_versions")
        assert (made["model"], made["dimensions"], made["chunking"]) == (
            index.model,
            index.dimensions,
            index.chunking,
        )

    def test_changes_nothing_where_apply_ran_before(self, any_database: Database, folder: Path):
        watch_bucket(any_database)
        upload(any_database, "a.txt", ["one", "two"])
        before = dump(any_database)
        export(folder)
        assert push(any_database, folder) == [FIRST]
        with any_database.connect() as connection:
            connection.execute("drop schema supabase_migrations cascade")
        assert dump(any_database) == before

    def test_repairs_what_was_changed_by_hand(self, database: Database, folder: Path):
        with database.connect() as connection:
            for change in DRIFTS.values():
                connection.execute(change.encode())
        export(folder)
        push(database, folder)
        assert check(database) == []

    def test_works_beside_an_apply(self, project: Database, folder: Path):
        export(folder)
        with ThreadPoolExecutor(2) as pool:
            applied = pool.submit(apply, project, "postgres")
            pushed = pool.submit(push, project, folder)
            applied.result()
            assert pushed.result() == [FIRST]
        assert check(project) == []

    def test_works_in_one_simple_query(self, project: Database, folder: Path):
        """Like the dashboard's editor and psql -1."""
        export(folder)
        with project.connect("postgres") as connection:
            connection.execute((folder / FIRST).read_bytes())
            assert value(connection, "show search_path") != ""
            assert value(connection, "select current_user::text") == "postgres"
        assert check(project) == []

    def test_is_nothing_at_all_outside_a_transaction(self, project: Database, folder: Path):
        export(folder)
        before = dump(project)

        def run_each_by_itself() -> None:
            with project.connect("postgres") as connection:
                for statement in split((folder / FIRST).read_text()):
                    connection.execute(statement.encode())

        with pytest.raises(psycopg.Error, match="docmill_export"):
            run_each_by_itself()
        assert dump(project) == before

    def test_by_a_superuser_belongs_to_the_schemas_owner(self, database: Database, folder: Path):
        with database.connect() as connection:
            connection.execute("drop function ingest_private.end_failed(uuid, text)")
        export(folder)
        push(database, folder, None)
        assert check(database) == []
        assert not apply(database, "postgres").changed


REFUSALS = {
    "not the database of a Supabase project": "drop schema storage cascade",
    "pgvector lies in schema my vectors": """
        create schema "my vectors"; alter extension vector set schema "my vectors" """,
    "could not be: enable the extension": "drop extension vector",
    "the schema belongs to its owner supabase_admin": """
        create schema ingest_private; create table ingest_private.migrations (name text)""",
}


class TestWhatAFileRefuses:
    @pytest.mark.parametrize(("message", "change"), REFUSALS.items(), ids=REFUSALS)
    def test_is_named_and_leaves_nothing(
        self, project: Database, folder: Path, *, message: str, change: str
    ):
        with project.connect() as connection:
            connection.execute(change.encode())
        export(folder)
        before = state(project)
        with pytest.raises(psycopg.Error, match=message):
            push(project, folder)
        with project.connect() as connection:
            assert rows(connection, "select * from supabase_migrations.schema_migrations") == []
        assert state(project) == before

    def test_an_edited_migration(self, database: Database, folder: Path):
        with database.connect() as connection:
            connection.execute(
                "update ingest_private.migrations set checksum = 'x' where name ~ '^0002'"
            )
        export(folder)
        with pytest.raises(psycopg.Error, match=r"edited \(0002_documents_and_jobs\.sql\)"):
            push(database, folder)

    def test_a_file_whose_sql_fails_is_named(
        self, database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
    ):
        with release(monkeypatch, migration="select 1; select 1 / 0;"):
            export(folder)
        before = state(database)
        with pytest.raises(psycopg.Error, match=r"docmill: 9999_more\.sql: division by zero"):
            push(database, folder)
        assert state(database) == before


class TestUpgrades:
    @pytest.fixture(params=["a migration", "a function"])
    def next_release(self, request: pytest.FixtureRequest) -> dict[str, str]:
        return {"migration": MORE} if request.param == "a migration" else {"function": CHANGED}

    def test_bring_what_is_new_and_touch_no_file(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, next_release: dict[str, str]
    ):
        export(folder)
        before = content(folder)
        times = (folder / FIRST).stat().st_mtime_ns
        with release(monkeypatch, **next_release):
            exported = export(folder, now=NOW + timedelta(days=1))
            assert not export(folder, now=NOW + timedelta(days=2)).changed
        assert exported.path is not None
        assert exported.path.name == "20261125123015_docmill_schema.sql"
        assert exported.migrations == (("9999_more.sql",) if "migration" in next_release else ())
        assert exported.index is None
        assert content(folder) == before | {exported.path.name: exported.path.read_text()}
        assert (folder / FIRST).stat().st_mtime_ns == times
        text = exported.path.read_text()
        assert next(iter(next_release.values())) in text
        assert not any(file.text in text for file in sql_files("migrations"))

    def test_do_what_apply_does(
        self,
        project: Database,
        other_project: Database,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        next_release: dict[str, str],
    ):
        apply(other_project, "postgres")
        export(folder)
        assert push(project, folder) == [FIRST]
        with release(monkeypatch, **next_release):
            export(folder)
            assert len(push(project, folder)) == 1
            assert check(project) == []
            assert not apply(project, "postgres").changed
            apply(other_project, "postgres")
            assert state(project) == state(other_project)

    @pytest.mark.parametrize(
        ("before", "change"),
        [
            ("nothing", {"migration": MORE}),
            ("apply of this release", {"function": CHANGED}),
            ("apply of the next", {"migration": MORE}),
            ("apply of the next", {"function": CHANGED}),
        ],
    )
    def test_end_in_the_same_wherever_they_start(
        self,
        project: Database,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        *,
        before: str,
        change: dict[str, str],
    ):
        if before == "apply of this release":
            apply(project, "postgres")
        export(folder)
        with release(monkeypatch, **change):
            export(folder)
            if before == "apply of the next":
                apply(project, "postgres")
            assert len(push(project, folder)) == 2
            assert check(project) == []
            assert not apply(project, "postgres").changed

    def test_an_older_file_changes_nothing_in_a_newer_database(
        self, project: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
    ):
        with release(monkeypatch, migration=MORE, function=CHANGED):
            apply(project, "postgres")
            export(folder)
            before = state(project)
        old = folder.with_name("old")
        export(old)
        push(project, old)
        assert state(project) == before

    def test_a_file_without_the_ones_before_it_is_refused(
        self, project: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
    ):
        export(folder)
        with release(monkeypatch, migration=MORE):
            export(folder)
        (folder / FIRST).unlink()
        with pytest.raises(psycopg.Error, match=r"are missing \(0001_schemas_and_role\.sql, 0002"):
            push(project, folder)


class TestAFolder:
    def test_with_everything_is_left_alone(self, folder: Path):
        assert export(folder).changed
        before = content(folder)
        again = export(folder, IndexSettings("other", 3, {}), NOW + timedelta(days=400))
        assert again == ExportedSchema(None)
        assert content(folder) == before

    def test_of_other_files_is_left_alone_and_comes_first(self, folder: Path):
        folder.mkdir()
        (folder / "20261124123015_ours.sql").write_text("select 1;")
        (folder / "20301231235959_tomorrow.sql").write_bytes(b"\xff\xfe")
        (folder / "seed.sql").write_text("select 2;")
        (folder / "20320101000000_old.sql").mkdir()
        exported = export(folder)
        assert exported.path is not None
        assert exported.path.name == "20310101000000_docmill_schema.sql"
        assert len(list(folder.iterdir())) == 5

    def test_that_git_gave_other_line_ends_is_known_again(self, folder: Path):
        export(folder)
        text = (folder / FIRST).read_bytes().replace(b"\n", b"\r\n")
        (folder / FIRST).write_bytes(text)
        assert not export(folder).changed

    def test_whose_file_was_renamed_is_known_again(self, folder: Path):
        export(folder)
        (folder / FIRST).rename(folder / "20270101000000_search.sql")
        assert not export(folder).changed

    def test_whose_file_was_edited_is_refused(self, folder: Path):
        export(folder)
        text = (folder / FIRST).read_text()
        (folder / FIRST).write_text(text.replace("grant select on ingest.documents", "grant all"))
        with pytest.raises(SchemaError, match=f"{FIRST} was edited .* restore the file"):
            export(folder)

    def test_of_a_newer_docmill_is_refused(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        with release(monkeypatch, migration=MORE):
            export(folder)
        with pytest.raises(SchemaError, match=r"newer than this docmill .*: upgrade docmill"):
            export(folder)

    def test_with_another_text_of_a_migration_is_refused(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ):
        with release(monkeypatch, migration=MORE):
            export(folder)
        with (
            release(monkeypatch, migration="select 1;"),
            pytest.raises(SchemaError, match=r"edited \(9999_more\.sql\)"),
        ):
            export(folder)

    def test_that_cannot_be_the_one_that_was_meant_is_refused(self, tmp_path: Path):
        with pytest.raises(UsageError, match="supabase init"):
            export(tmp_path / "nowhere" / "migrations")
        assert list(tmp_path.iterdir()) == []


class TestVersions:
    @pytest.mark.parametrize(
        ("names", "version"),
        [
            ([], "20261124123015"),
            (["20261124123014_a.sql"], "20261124123015"),
            (["20261124123015_a.sql"], "20261124123016"),
            (["20261231235959_a.sql", "20200101000000_b.sql"], "20270101000000"),
            (["0001_init.sql", "20240101_day.sql"], "20261124123015"),
        ],
    )
    def test_come_after_all_others(self, names: list[str], version: str):
        assert next_version(NOW, names) == version

    def test_are_of_one_clock_wherever_they_are_made(self):
        here = NOW.astimezone(datetime.now().astimezone().tzinfo)
        assert next_version(here, []) == "20261124123015"

    @pytest.mark.parametrize("version", ["99991231235959", "30", "20991399000000"])
    def test_that_no_time_follows_are_refused_by_name(self, version: str):
        with pytest.raises(UsageError, match=f"migration {version} comes after"):
            next_version(NOW, [f"{version}_a.sql"])


def test_the_statements_are_cut_where_they_end():
    text = """-- it's; a comment
        select ';', "a;""b", $$;$$, $a$ $$;$$ $a$; /* ; */ do $x$ begin; end $x$; -- end;
        select 2"""
    assert [statement[-8:] for statement in split(text)] == [
        "$$;$$ $a$"[-8:],
        " end $x$",
        "select 2",
    ]


class TestTheCommand:
    @staticmethod
    def run(project: Path, *arguments: str, **settings: str) -> str:
        environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.run(
            [sys.executable, "-m", "docmill", "schema", "export", *arguments],
            cwd=project,
            env=environ | settings,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def test_needs_no_database_and_says_what_it_wrote(self, folder: Path):
        project = folder.parents[1]
        settings = {"DOCMILL_EMBEDDER": "local", "DOCMILL_CHUNK_TOKENS": "200"}
        written = json.loads(self.run(project, "--json", **settings))
        [path] = folder.iterdir()
        assert written.pop("file") == f"supabase/migrations/{path.name}"
        assert written == {
            "changed": True,
            "migrations": [file.name for file in sql_files("migrations")],
            "reapplied": True,
            "index_version": {
                "model": INDEX.model,
                "dimensions": INDEX.dimensions,
                "chunking": {"max_tokens": 200},
                "provider": "local",
                "sends_dimensions": False,
            },
        }
        again = self.run(project, "--to", "supabase/migrations")
        assert "nothing was written" in again
        assert len(list(folder.iterdir())) == 1


@pytest.mark.skipif(find_cli() is None, reason="no Supabase CLI here: make supabase installs it")
class TestWithTheRealCli:
    def test_a_project_is_pushed_upgraded_and_found_up_to_date(
        self,
        any_project: Database,
        folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ):
        url = any_project.url("postgres") + "?sslmode=disable"

        def cli(*arguments: str) -> str:
            return run_cli(folder.parents[1], tmp_path, *arguments, "--db-url", url)

        export(folder)
        assert f"Applying migration {FIRST}" in cli("migration", "up")
        assert check(any_project) == []
        with any_project.connect() as connection:
            [row] = rows(connection, "select * from supabase_migrations.schema_migrations")
        assert row["version"] + "_" + row["name"] + ".sql" == FIRST
        assert row["statements"] == split((folder / FIRST).read_text())
        with release(monkeypatch, migration=MORE, function=CHANGED):
            exported = export(folder)
            assert exported.path is not None
            assert f"Applying migration {exported.path.name}" in cli("db", "push")
            assert check(any_project) == []
            assert not apply(any_project, "postgres").changed
        assert "up to date" in cli("db", "push")
