"""Each oracle is tested with the fault that it must find; one that cannot fail proves nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from docmill.embedded.postgres import PostgresServer
from docmill.embedded.redis import RedisServer
from tests.faults import oracles
from tests.faults.documents import Mark, make_text, mark_of, tear
from tests.faults.fake_provider import Provider
from tests.faults.oracles import Evidence
from tests.faults.reader import Reader
from tests.schema.actors import claimed, job_of, publish, stage
from tests.support.agreement import disagreements
from tests.support.database import make_database
from tests.support.installation import ALICE, Installation, install


@pytest.fixture(scope="module")
def installation(
    postgres: PostgresServer, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """One document of two parts, ingested by hand."""
    folder: Path = tmp_path_factory.mktemp("oracles")
    with (
        make_database(postgres, "project") as database,
        install(database, redis_server, folder) as made,
    ):
        text = make_text("alice", 1, 2)
        made.upload(ALICE, "a.md", text)
        chunks = [f"# Part {part}" for part in text.split("# Part ")[1:]]
        with database.connect() as admin, database.connect("docmill_worker") as worker:
            (object_id,) = admin.execute("select id from storage.objects").fetchone()  # type: ignore[misc]
            run = claimed(worker, job_of(admin, object_id))
            stage(worker, run, chunks)
            assert publish(worker, run, chunks) == "published"
        yield made


@pytest.fixture
def evidence(installation: Installation) -> Evidence:
    reader = Reader(installation.database, {"alice": ALICE}, 1)
    reader.readings = reader.looks = 1
    return Evidence(installation, reader, Provider(), 1.0, "a log")


@pytest.fixture
def undone(
    installation: Installation, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> Iterator["psycopg.Connection[Any]"]:
    """A transaction in which the oracles look too, rolled back at the end."""
    with (
        installation.database.connect(row_factory=dict_row) as connection,
        connection.transaction(force_rollback=True),
    ):
        connection.execute("set local session_replication_role = replica")

        def rows(query: str, *parameters: Any) -> list[dict[str, Any]]:
            return connection.execute(query.encode(), parameters).fetchall()

        monkeypatch.setattr(installation, "rows", rows)
        yield connection


def test_a_sound_installation_disappoints_none(evidence: Evidence) -> None:
    for oracle in oracles.ORACLES:
        oracle(evidence)


@pytest.mark.parametrize(
    ("oracle", "damage"),
    [
        (
            oracles.o1_every_object_has_a_job_that_ended_for_its_version,
            "update ingest.jobs set state = 'queued', stage = 'waiting', finished_at = null",
        ),
        (
            oracles.o1_every_object_has_a_job_that_ended_for_its_version,
            "update storage.objects set version = 'next'",
        ),
        (
            oracles.o1_every_object_has_a_job_that_ended_for_its_version,
            "delete from ingest.documents",
        ),
        (
            oracles.o2_what_is_searchable_is_what_storage_holds,
            "update ingest_private.published_versions set storage_version = 'before'",
        ),
        (
            oracles.o2_what_is_searchable_is_what_storage_holds,
            "update ingest.chunk_positions set ordinal = 2 where ordinal = 0",
        ),
        (
            oracles.o2_what_is_searchable_is_what_storage_holds,
            "delete from ingest.chunk_positions where ordinal = 1",
        ),
        (
            oracles.o2_what_is_searchable_is_what_storage_holds,
            "update ingest.chunks set content = replace(content, 'revision 1', 'revision 0')",
        ),
        (
            oracles.o2_what_is_searchable_is_what_storage_holds,
            """insert into ingest.jobs select (job).* from (
                   select jsonb_populate_record(job, jsonb_build_object('id', gen_random_uuid()))
                       as job from ingest.jobs as job) as copied""",
        ),
        (
            oracles.o3_nothing_of_deleted_objects_is_searchable,
            "delete from storage.objects",
        ),
        (
            oracles.o5_no_job_has_more_attempts_or_deaths_than_it_may,
            """insert into ingest_private.attempts
                      (job_id, token, attempt, worker_id, isolated, finished_at, outcome)
               select id, -n, 1, 'w', true, clock_timestamp() + n * interval '1 day', 'crashed'
                 from ingest.jobs, generate_series(1, 3) as n""",
        ),
        (
            oracles.o10_every_version_that_is_filled_has_all,
            "select ingest_private.create_index_version('m', 256, '{\"max_tokens\": 400}')",
        ),
        (
            oracles.o10_every_version_that_is_filled_has_all,
            "update ingest.jobs set kind = 'reindex', state = 'failed', error_code = 'corrupt'",
        ),
        (
            oracles.o2_what_is_searchable_is_what_storage_holds,
            "select ingest_private.create_index_version('m', 256, '{\"max_tokens\": 400}')",
        ),
        (
            oracles.o11_nothing_is_left_of_a_dropped_version,
            "update ingest.index_versions set state = 'dropped'",
        ),
        (
            oracles.o11_nothing_is_left_of_a_dropped_version,
            """select ingest_private.create_index_version('m', 256, '{}');
               update ingest.index_versions set state = 'dropped' where state = 'building';
               delete from ingest_private.chunk_fills where index_version <> 1""",
        ),
        (
            oracles.o12_reindexing_leaves_documents_alone,
            "update ingest.jobs set kind = 'reindex'",
        ),
        (
            oracles.o12_reindexing_leaves_documents_alone,
            "update ingest.documents set status = 'failed', error_code = 'corrupt'",
        ),
        (
            oracles.no_innocent_document_is_parked,
            "update ingest.documents set status = 'failed', error_code = 'worker_lost'",
        ),
    ],
)
def test_damage_in_the_database_is_found(
    evidence: Evidence,
    undone: "psycopg.Connection[Any]",
    oracle: Callable[[Evidence], None],
    damage: str,
) -> None:
    oracle(evidence)
    undone.execute("set local storage.allow_delete_query = 'true'")
    undone.execute(damage.encode())
    with pytest.raises(AssertionError):
        oracle(evidence)


@pytest.mark.parametrize(
    "damage",
    [
        "delete from ingest.chunks",
        "update ingest.documents set status = 'pending'",
        "delete from storage.objects",
        "update storage.objects set version = 'next'",
        "update ingest.documents set storage_version = 'next'",
    ],
)
def test_damage_makes_those_disagree_who_say_how_it_is(
    undone: "psycopg.Connection[Any]", damage: str
) -> None:
    assert disagreements(undone) == []
    undone.execute("set local storage.allow_delete_query = 'true'")
    undone.execute(damage.encode())
    assert disagreements(undone)


def test_a_contradiction_is_told(evidence: Evidence) -> None:
    evidence.reader.contradictions.append("black is white")
    with pytest.raises(AssertionError, match="black is white"):
        oracles.o9_all_say_the_same(evidence)


def test_what_readers_have_seen_is_told(evidence: Evidence) -> None:
    for seen in (evidence.reader.torn, evidence.reader.foreign):
        seen.append("something")
        with pytest.raises(AssertionError, match="something"):
            oracles.o4_no_reader_saw_two_versions_or_a_strangers_document(evidence)
        seen.clear()
    evidence.reader.deleted_seen[uuid4()] = 10.5
    with pytest.raises(AssertionError, match=r"10\.5"):
        oracles.o3_nothing_of_deleted_objects_is_searchable(evidence)


def test_a_search_that_was_misled_is_told(evidence: Evidence) -> None:
    evidence.reader.misled.append("a chunk of another version")
    with pytest.raises(AssertionError, match="another version"):
        oracles.o13_searches_see_one_version(evidence)


def test_what_was_paid_twice_is_told(evidence: Evidence) -> None:
    evidence.provider.paid.update({("m", "once"): 1, ("m", "a text that was embedded thrice"): 3})
    with pytest.raises(AssertionError, match="times the tokens"):
        oracles.o6_hardly_anything_is_paid_for_twice(evidence)


@pytest.mark.parametrize("secret", [*oracles.CANARIES, "Mark of alice"])
def test_a_secret_in_a_log_is_told(evidence: Evidence, secret: str) -> None:
    leaked = Evidence(evidence.installation, evidence.reader, evidence.provider, 1.0, f"-{secret}-")
    with pytest.raises(AssertionError, match="a log shows"):
        oracles.o7_no_log_shows_a_secret(leaked)


def test_what_does_not_settle_is_told(evidence: Evidence) -> None:
    late = Evidence(evidence.installation, evidence.reader, evidence.provider, None, "")
    with pytest.raises(AssertionError, match="not settled"):
        oracles.o8_it_settles_in_time(late)


def test_a_document_in_pieces_is_no_whole_one() -> None:
    marks = [mark_of(part) for part in make_text("alice", 3, 3).split("# Part ")[1:]]
    assert marks[1] == Mark("alice", 3, 2, 3)
    assert tear(marks) is None
    for torn in (marks[:2], marks[1:], [marks[0], marks[2], marks[1]], [*marks, marks[0]]):
        assert tear(torn) is not None
    other = [mark_of(part) for part in make_text("alice", 4, 3).split("# Part ")[1:]]
    assert tear([*marks[:2], other[2]]) == "chunks of several versions"
