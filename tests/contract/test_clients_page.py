"""docs/clients.md is true: its code equals the examples, its tables equal the database."""

import re
from pathlib import Path

import pytest

from tests.support.database import Database

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "clients.md").read_text()
ENDINGS = {"js": ".mjs", "python": ".py", "psql": ".sql"}
#: Code. Commands are run by tests/acceptance/test_documentation.py.
BLOCKS = [
    (language, code)
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    if language != "sh"
]


@pytest.mark.parametrize(("language", "code"), BLOCKS, ids=[code[:30] for _, code in BLOCKS])
def test_its_code_is_part_of_an_example(language: str, code: str) -> None:
    files = (ROOT / "examples").glob(f"*/*{ENDINGS[language]}")
    assert any(code in file.read_text() for file in files), "made anew from the examples?"


def test_every_function_of_the_examples_is_shown() -> None:
    """Every function that a reader copies; the page does not explain how to start the programs."""
    names = {"js": r"export async function\*? (\w+)", "python": r"^def (\w+)"}
    files = {"js": "javascript/{}.mjs", "python": "python/{}.py"}
    for language, pattern in names.items():
        shown = "".join(code for block, code in BLOCKS if block == language)
        for name in ("docmill", "realtime") if language == "js" else ("docmill",):
            text = (ROOT / "examples" / files[language].format(name)).read_text()
            defined = re.findall(pattern, text, re.MULTILINE)
            assert defined
            # Shown only in JavaScript, because the requests are the same.
            missing = set(defined) - set(re.findall(pattern, shown, re.MULTILINE))
            assert missing <= ({"cancel", "retry", "describe"} if language == "python" else set())


def table_after(heading: str) -> set[str]:
    """Names in the first column of the first table after a text."""
    lines = PAGE[PAGE.index(heading) :].splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| --- |"))
    rows = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        rows.append(line.split("|")[1])
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


@pytest.mark.parametrize("table", ["jobs", "documents"])
def test_every_column_is_explained(database: Database, table: str) -> None:
    with database.connect() as connection:
        columns = connection.execute(
            "select column_name from information_schema.columns"
            " where table_schema = 'ingest' and table_name = %s",
            [table],
        ).fetchall()
    assert table_after(f"### `ingest.{table}`") == {name for (name,) in columns}


@pytest.mark.parametrize(
    ("heading", "mode"), [("`match_chunks` compares", "i"), ("It returns, nearest", "t")]
)
def test_every_parameter_and_column_of_a_search_is_explained(
    database: Database, heading: str, mode: str
) -> None:
    with database.connect() as connection:
        names = connection.execute(
            "select argument.name from pg_proc,"
            " unnest(proargnames, proargmodes) as argument (name, mode)"
            " where pronamespace = 'ingest'::regnamespace and proname = 'match_chunks'"
            "   and argument.mode = %s",
            [mode],
        ).fetchall()
    assert table_after(heading) == {name for (name,) in names}


def test_every_state_is_named(database: Database) -> None:
    with database.connect() as connection:
        checks = connection.execute(
            "select pg_get_constraintdef(oid) from pg_constraint"
            " where conrelid in ('ingest.jobs'::regclass, 'ingest.documents'::regclass)"
            "   and conname in ('jobs_state_check', 'jobs_stage_check', 'documents_status_check')"
        ).fetchall()
    assert len(checks) == 3
    for (check,) in checks:
        for value in re.findall(r"'(\w+)'", check):
            assert f"`{value}`" in PAGE, value


def test_a_service_s_query_finds_the_nearest(database: Database) -> None:
    """Among one owner's few chunks and many of another."""
    script = (ROOT / "examples" / "sql" / "service_search.sql").read_text()
    settings, query = script.split("with nearest", 1)
    query = "with nearest" + query.removesuffix("commit;\n")
    embedding = "[" + ",".join(["1"] * 256) + "]"
    for name, value in {
        "'embedding'": f"'{embedding}'",
        "'owner'": "'few'",
        "dimensions": "256",
        "version": "1",
    }.items():
        query = query.replace(f":{name}", value)
    with database.connect() as connection:
        for statement in (
            "set session_replication_role = replica",
            """insert into ingest.documents (object_id, bucket_id, object_name, storage_version,
                                             owner_id, status, searchable)
               select gen_random_uuid(), 'docs', owner, 'v', owner, 'ready', true
                 from unnest(array['few', 'many']) as owner""",
            """insert into ingest.chunks (index_version, document_id, object_id, owner_id, access,
                                          content, token_count, content_hash, embedding, fts)
               select 1, document.id, document.object_id, document.owner_id, 'owner', n::text, 1,
                      sha256(n::text::bytea),
                      (select array_agg(sin(n * 7919 + d * d)) from generate_series(1, 256) as d)
                          ::extensions.vector(256)::extensions.halfvec, ''
                 from generate_series(1, 3000) as n
                      join ingest.documents as document
                        on document.owner_id = case when n % 60 = 0 then 'few' else 'many' end""",
            "analyze ingest.chunks",
        ):
            connection.execute(statement.encode())
    # Its own session, like a reader's, in which pgvector is not loaded yet.
    with database.connect() as connection:
        connection.execute(settings.encode())
        found = connection.execute(query.encode()).fetchall()
        exact = connection.execute(
            "select 1 - (embedding operator(extensions.<=>) %s::extensions.halfvec) as score"
            "  from ingest.chunks where owner_id = 'few' order by score desc limit 5",
            [embedding],
        ).fetchall()
    assert [row[0] for row in found] == pytest.approx([score for (score,) in exact], abs=1e-3)
