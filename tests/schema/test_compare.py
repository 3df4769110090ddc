"""docmill reindex compare: two index versions, compared in each owner's own documents."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from docmill.cli.main import app
from docmill.embedded.postgres import PostgresServer
from docmill.worker.admin import compare
from docmill.worker.embedding.local import LocalEmbedder
from docmill.worker.errors import DocmillError, RefusedError
from tests.schema.actors import (
    Connection,
    claimed,
    job_of,
    publish,
    rows,
    stage,
    value,
)
from tests.support import fake_openai
from tests.support.database import Database, make_database, put_object, watch_bucket
from tests.support.fake_openai import FakeOpenAI

#: More documents than a search returns: Carol has one on each subject.
THINGS = (
    *("apples", "bridges", "candles", "dogs", "engines", "forests", "gardens", "horses"),
    *("islands", "juice", "kitchens", "lemons", "mountains", "needles", "oceans", "pianos"),
    *("queens", "rivers", "ships", "tigers", "umbrellas", "violins", "windows", "yoghurt"),
)
SECRET = "The vault opens with the number nine. "
TEXTS = {
    "alice": {
        "roof.txt": ["Slates are replaced every forty years. They are nailed.", "Lead lasts."],
        "boat.txt": ["The hull is painted in spring with red paint. Then it dries."],
        "bread.txt": ["Dough of rye rests for a whole day in the cold. It is sour."],
    },
    "carol": {f"{thing}.txt": [f"A page about {thing}. It was written."] for thing in THINGS},
    "bob": {"vault.txt": [SECRET + "It is below the stairs.", "Slates are black."]},
}
OTHER_WIDTH = 512


def fill(admin: Connection, version: int, vector: Callable[[str], Any]) -> None:
    """Finish the waiting jobs of a version with these embeddings."""
    for row in rows(
        admin,
        """select job.id, document.object_name as name, document.owner_id as owner
             from ingest.jobs as job join ingest.documents as document
                  on document.id = job.document_id
            where job.index_version = %s and job.state = 'queued'""",
        version,
    ):
        run = claimed(admin, row["id"])
        texts = TEXTS[row["owner"]][row["name"]]
        assert stage(admin, run, texts, vector=vector)
        assert publish(admin, run, texts) == "published"


@pytest.fixture(scope="module")
def openai() -> Iterator[FakeOpenAI]:
    with closing(FakeOpenAI()) as fake:
        yield fake


@pytest.fixture(scope="module")
def library(postgres: PostgresServer) -> Iterator[Database]:
    """Documents of two owners: version 1 with the local model, version 2 with a useless one."""
    local = LocalEmbedder()
    with make_database(postgres) as database, database.connect() as admin:
        watch_bucket(database)
        for owner, documents in TEXTS.items():
            for name in documents:
                object_id = put_object(admin, name, owner=owner)
                assert job_of(admin, object_id)
        fill(admin, 1, lambda text: local.embed([text])[0][0])
        version = value(
            admin,
            """select ingest_private.create_index_version(
                   'fake', %s, '{"max_tokens": 400}', 'openai', true)""",
            OTHER_WIDTH,
        )
        value(admin, "select ingest_private.fill_index_versions(100)")
        fill(admin, version, partial(fake_openai.vector_of, dimensions=OTHER_WIDTH))
        yield database


@pytest.fixture
def run(
    library: Database, openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Run the command; return its output or its refusal."""
    monkeypatch.setenv("DOCMILL_ADMIN_DATABASE_URL", library.url("postgres"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("OPENAI_BASE_URL", openai.url)

    def invoke(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["reindex", "compare", *arguments])
        assert done.exception is None or isinstance(done.exception, DocmillError), done.exception
        return str(done.exception or done.stdout)

    return invoke


def test_what_is_drawn_is_found_by_the_model_that_knows_and_each_owner_asks_for_their_own(
    run: Callable[..., str], openai: FakeOpenAI
):
    report = json.loads(run("2", "--sample", "50", "--json"))
    assert (report["queries"], report["owners"]) == (4 + len(THINGS), 3)
    active, other = report["versions"]
    assert (active["version"], active["state"], active["model"]) == (
        *(1, "active"),
        LocalEmbedder.model,
    )
    assert (other["version"], other["state"], other["dimensions"]) == (2, "building", OTHER_WIDTH)
    assert active["known_item_rate"] == 1 > other["known_item_rate"] > 0
    # Here each document is one passage, except two.
    assert 0 < report["document_overlap"] < 1
    assert report["passage_overlap"] == pytest.approx(report["document_overlap"], abs=0.05)
    for one in report["versions"]:
        assert one["chunks"] == 6 + len(THINGS)
        assert one["table_bytes"] > 0
        assert one["index_bytes"] > 0
        assert 0 < one["median_ms"] <= one["p95_ms"]
    assert SECRET.strip() in openai.texts


def test_nobody_finds_what_others_have(library: Database):
    with library.connect("postgres") as admin:
        versions = compare.pair(admin, 2)
        questions = [compare.Question(SECRET, "alice"), compare.Question(SECRET, "nobody")]
        local = LocalEmbedder()
        vectors, _ = compare.embed(local, versions[0].index, questions, batch=1)
        hers, nobodys = compare.ask(admin, 1, questions, vectors)
        assert {hit.content for hit in hers.hits} == {
            text for texts in TEXTS["alice"].values() for text in texts
        }
        assert nobodys.hits == []


def test_of_an_owner_only_their_documents_are_drawn(library: Database):
    with library.connect("postgres") as admin:
        versions = compare.pair(admin, 2)
        (drawn,) = compare.draw(admin, versions, owner="bob", many=50)
        assert (drawn.text, drawn.owner) == (SECRET.strip(), "bob")
        assert drawn.known is not None
        assert drawn.known.content == SECRET.strip()
        assert len(compare.draw(admin, versions, owner=None, many=2)) == 2


def test_what_one_of_the_versions_lacks_is_not_drawn(library: Database):
    with library.connect() as admin, admin.transaction(force_rollback=True):
        versions = compare.pair(admin, 2)
        admin.execute("delete from ingest_private.published_versions where index_version = 2")
        assert compare.draw(admin, versions, owner=None, many=50) == []


def test_a_passage_is_asked_for_by_the_heading_above_it(library: Database):
    with library.connect() as admin, admin.transaction(force_rollback=True):
        admin.execute("create temporary table moved on commit drop as table ingest.chunks")
        admin.execute("update moved set headings = '{House,Care of the roof}'")
        admin.execute("delete from ingest.chunks")
        admin.execute("insert into ingest.chunks select * from moved")
        drawn = compare.draw(admin, compare.pair(admin, 2), owner="alice", many=50)
        assert {question.text for question in drawn} == {"Care of the roof"}
        begins = {question.known.content for question in drawn if question.known}
        assert "Slates are replaced every forty years." in begins  # the first of its two passages


def test_saved_queries_are_asked_as_a_user(run: Callable[..., str], tmp_path: Path):
    saved = tmp_path / "queries.txt"
    saved.write_text("\ufeffwhen are slates replaced\n\n  red paint \n")
    said = run("2", "--queries", str(saved), "--owner", "alice")
    assert "2 queries as 1 owner: overlap@10 of documents 1.00, of passages 1.00" in said
    report = json.loads(run("2", "--queries", str(saved), "--owner", "nobody", "--json"))
    assert [one["known_item_rate"] for one in report["versions"]] == [None, None]


def test_without_a_user_or_a_query_nothing_is_asked(run: Callable[..., str], tmp_path: Path):
    saved = tmp_path / "queries.txt"
    saved.write_text("\n")
    for arguments, said in (
        (["--queries", str(saved)], "holds no query"),
        (["--queries", str(tmp_path / "absent")], "cannot be read"),
    ):
        assert said in run("2", *arguments, "--owner", "alice")
    saved.write_text("roof")
    assert "--owner" in run("2", "--queries", str(saved))
    assert "no document" in run("2", "--owner", "nobody")


@pytest.mark.parametrize(("version", "said"), [(1, "is the active one"), (9, "is not there")])
def test_there_have_to_be_two(library: Database, version: int, said: str):
    with library.connect("postgres") as admin, pytest.raises(RefusedError, match=said):
        compare.pair(admin, version)


def test_what_was_dropped_is_compared_with_nothing(library: Database):
    with library.connect() as admin, admin.transaction(force_rollback=True):
        admin.execute("update ingest.index_versions set state = 'dropped' where id = 2")
        with pytest.raises(RefusedError, match="was dropped"):
            compare.pair(admin, 2)
