"""Searches of random libraries by random callers, compared with a judge that scans in Python."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from docmill.embedded.postgres import PostgresServer
from tests.schema.actors import Connection, hash_of, literal, rows, value, vector_of
from tests.support.database import make_database, watch_bucket
from tests.support.search_judge import (
    STOP_WORDS,
    Document,
    Hit,
    Judge,
    Passage,
    contains,
    metadata_of,
    similar,
)

CALLERS = ("alice", "bob", "reader", "mallory", "service_role")
WORDS = (
    *("zubo", "kalo", "mirt", "rooms", "room", "Häuser", "haus", "draft", "report"),
    *("東京都", "京都", "都", "価格", "ราคา", "호텔", "ab-12", "ab", "12", "17,5", "a.b@c.de"),
    *("cafe\u0301", "CAFÉ", "שלום", "مرحبا", "in\u00advisible", "\uff21\uff22", "x_w"),
    *(word for listed in STOP_WORDS.values() for word in listed),
)
TEXTS = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
TITLES = st.one_of(
    st.none(), st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
)
PASSAGES = st.builds(
    Passage,
    TEXTS,
    st.lists(st.sampled_from(["zubo", "Kalo 東京", "report"]), max_size=2).map(tuple),
)
NAMES = st.builds(
    lambda folder, name, number: f"{folder}{name}-{number}.txt",
    st.sampled_from(["", "open/", "open/", "a/b/"]),
    st.sampled_from(["zubo", "report", "東京"]),
    st.integers(0, 10**9),
)
DOCUMENTS = st.builds(
    Document,
    st.sampled_from(["alice", "alice", "bob", None]),
    st.sampled_from(["owner", "inherit"]),
    st.sampled_from(["docs", "second"]),
    NAMES,
    TITLES,
    st.sampled_from([{}, {"team": "red"}, {"team": "blue", "n": {"x": [1, 2]}}]),
    st.integers(1, 28),
    st.lists(PASSAGES, min_size=1, max_size=4),
    st.sampled_from([False, False, False, True]),
)
LIBRARIES = st.lists(DOCUMENTS, min_size=1, max_size=7, unique_by=lambda one: one.name)
PARTS = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(WORDS).map(lambda word: f"{word[:2]}*"),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=2).map(
        lambda some: f'"{" ".join(some)}"'
    ),
    st.sampled_from(WORDS).map(lambda word: f"-{word}"),
    st.sampled_from(WORDS).map(lambda word: f"-{word[:2]}*"),
    st.lists(st.sampled_from(WORDS), min_size=2, max_size=2).map(lambda two: f'-"{" ".join(two)}"'),
    st.sampled_from(['"', "-", "--", '""', '-"', "*", "&|!", "„zubo kalo“", "-5", "a-b", '-"x']),
)
QUERIES = st.one_of(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join),
    st.lists(PARTS, min_size=1, max_size=4).map(" ".join),
)
EACH_FILTER: dict[str, st.SearchStrategy[Any]] = {
    "bucket": st.sampled_from(["docs", "second", "nope"]),
    "path_prefix": st.sampled_from(["open/", "a/", "%"]),
    "metadata_filter": st.sampled_from([{}, {"team": "red"}, {"n": {"x": [2]}}]),
    "created_since": st.integers(1, 28),
    "created_until": st.integers(1, 28),
    "document_ids": st.sets(st.integers(0, 9)),
}
FILTERS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    *(st.fixed_dictionaries({name: each}) for name, each in EACH_FILTER.items()),
    st.fixed_dictionaries({}, optional=EACH_FILTER),
)
EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def shelf(postgres: PostgresServer) -> Iterator[Connection]:
    """A superuser's connection to a project with two buckets, where `open/` is shown to others."""
    with make_database(postgres) as database:
        watch_bucket(database)
        watch_bucket(database, "second")
        with database.connect() as admin:
            admin.execute(
                """create policy opened on storage.objects for select to authenticated
                   using (name like 'open/%' and (select auth.jwt()) ->> 'sub' <> 'mallory')"""
            )
            yield admin


@pytest.fixture(scope="module")
def stem(shelf: Connection) -> Callable[[str, str], str | None]:
    """Snowball's stem; None for its stop words."""
    known: dict[tuple[str, str], str | None] = {}

    def look_up(language: str, word: str) -> str | None:
        if (language, word) not in known:
            found = value(
                shelf, "select ts_lexize(%s::regdictionary, %s)", f"{language}_stem", word
            )
            known[language, word] = found[0] if found else None
        return known[language, word]

    return look_up


def as_stored(vector: Any) -> Any:
    """A unit vector of what is left of a vector with four digits at half precision."""
    digits = np.array([float(f"{number:.4f}") for number in vector])
    half = digits.astype(np.float16).astype(float)
    return half / np.linalg.norm(half)


def asked(vector: Any) -> Any:
    """What is left of a query: it is made a unit vector first."""
    digits = np.array([float(f"{number:.4f}") for number in vector])
    return (digits / np.linalg.norm(digits)).astype(np.float16).astype(float)


def put(admin: Connection, library: Sequence[Document]) -> None:
    """Write a library as publishes and withdrawals leave it."""
    admin.execute("set local session_replication_role = replica")
    for number, one in enumerate(library):
        item = uuid4()
        admin.execute(
            "insert into storage.objects (id, bucket_id, name, owner_id) values (%s, %s, %s, %s)",
            [item, one.bucket, one.name, one.owner],
        )
        one.id = value(
            admin,
            """insert into ingest.documents (
                   object_id, bucket_id, object_name, owner_id, access, storage_version, status,
                   searchable, chunk_count, title, metadata, created_at)
               values (%s, %s, %s, %s, %s, 'v', 'ready', true, %s, %s, %s, %s) returning id""",
            *(item, one.bucket, one.name, one.owner, one.access, len(one.passages), one.title),
            *(Jsonb(one.metadata), f"2026-01-{one.day:02}Z"),
        )
        one.ids = [uuid4() for _ in one.passages]
        made = [vector_of(f"{number} {place}") for place in range(len(one.passages))]
        one.vectors = [as_stored(vector) for vector in made]
        admin.execute("set local session_replication_role = origin")
        admin.cursor().executemany(
            """insert into ingest.chunks (id, index_version, document_id, object_id, owner_id,
                   access, content, headings, token_count, content_hash, embedding)
               values (%s, 1, %s, %s, %s, %s, %s, %s, 1, %s, %s)""",
            [
                (
                    *(chunk, one.id, item, one.owner, one.access, passage.content),
                    *([*passage.headings], hash_of(str(chunk)), literal(vector)),
                )
                for chunk, passage, vector in zip(one.ids, one.passages, made, strict=True)
            ],
        )
        admin.cursor().executemany(
            """insert into ingest.chunk_positions (index_version, document_id, ordinal, chunk_id)
               values (1, %s, %s, %s)""",
            [(one.id, place, chunk) for place, chunk in enumerate(one.ids)],
        )
        admin.execute("select ingest_private.put_title(%s, 1, %s)", [one.id, one.title])
        admin.execute("set local session_replication_role = replica")
    admin.execute("set local session_replication_role = origin")
    gone = [one.id for one in library if one.is_withdrawn]
    admin.execute("select ingest_private.withdraw_documents(%s::uuid[])", [gone])


def act_as(admin: Connection, caller: str) -> None:
    """Go on as a client of the Data API, until the transaction ends."""
    role = "service_role" if caller == "service_role" else "authenticated"
    claims = {"role": role} | ({} if caller == role else {"sub": caller})
    admin.execute(
        """select set_config('request.jwt.claims', %s, true), set_config('role', %s, true),
                  set_config('search_path', 'ingest, public, extensions', true)""",
        [json.dumps(claims), role],
    )


def call(admin: Connection, function: str, **arguments: Any) -> list[dict[str, Any]]:
    """The rows of a function of ingest."""
    named = ", ".join(f"{name} => %s" for name in arguments)
    return rows(admin, f"select * from ingest.{function}({named})", *arguments.values())


def filters_of(
    drawn: Mapping[str, Any], library: Sequence[Document]
) -> tuple[dict[str, Any], Callable[[Document], bool]]:
    """The arguments of a filter, and the same as a decision."""
    said = dict(drawn)
    wanted = [library[n].id if n < len(library) else uuid4() for n in said.get("document_ids", ())]
    if "document_ids" in said:
        said["document_ids"] = wanted
    for name in ("created_since", "created_until"):
        if name in said:
            said[name] = f"2026-01-{said[name]:02}Z"
    if "metadata_filter" in said:
        said["metadata_filter"] = Jsonb(said["metadata_filter"])

    def fits(one: Document) -> bool:
        return (
            drawn.get("bucket", one.bucket) == one.bucket
            and one.name.startswith(drawn.get("path_prefix", ""))
            and contains(one.metadata, drawn.get("metadata_filter", {}))
            and drawn.get("created_since", 0) <= one.day < drawn.get("created_until", 99)
            and ("document_ids" not in drawn or one.id in wanted)
        )

    return said, fits


def check_order(
    found: Sequence[dict[str, Any]], expected: Sequence[Hit], count: int, weights: tuple[int, int]
) -> None:
    """The hits have the judge's scores, come in their order, and are the best of all."""
    score = {hit.row.id: hit.score(weights) for hit in expected}
    assert [row["score"] for row in found] == pytest.approx(
        [score[row["chunk_id"]] for row in found], abs=2e-3
    )
    said = [row["score"] for row in found]
    assert said == sorted(said, reverse=True)
    assert len(found) == min(count, len(expected))
    best = sorted(score.values(), reverse=True)[: len(found)]
    assert said == pytest.approx(best, abs=2e-3)


@pytest.fixture
def filled(shelf: Connection) -> Iterator[list[Document]]:
    """A library that stays for a test."""
    passages = [Passage("zubo kalo the report"), Passage("東京都 x a 1"), Passage("")]
    library = [
        Document(owner, access, "docs", f"{folder}{owner}-{access}.txt", "Title a", {}, 1, passages)
        for owner in ("alice", "bob", None)
        for access, folder in (("owner", ""), ("inherit", "open/"))
    ]
    with shelf.transaction(force_rollback=True):
        put(shelf, library)
        yield library


class TestHybridSearch:
    @EXAMPLES
    @given(
        library=LIBRARIES,
        queries=st.lists(
            st.tuples(st.sampled_from(CALLERS), QUERIES, st.booleans(), FILTERS),
            min_size=3,
            max_size=6,
        ),
    )
    def test_finds_what_the_judge_finds(
        self,
        shelf: Connection,
        stem: Callable[[str, str], str | None],
        library: list[Document],
        queries: list[Any],
    ):
        with shelf.transaction(force_rollback=True):
            put(shelf, library)
            for caller, query, is_hybrid, drawn in queries:
                near = vector_of(query) if is_hybrid else None
                said, fits = filters_of(drawn, library)
                with shelf.transaction(force_rollback=True):
                    act_as(shelf, caller)
                    found = call(
                        shelf,
                        "hybrid_search",
                        query_text=query,
                        query_embedding=None if near is None else literal(near),
                        match_count=200,
                        with_context=1,
                        **said,
                    )
                    facets = call(
                        shelf,
                        "search_facets",
                        query_text=query,
                        query_embedding=None if near is None else literal(near),
                        **said,
                    )
                judge = Judge(library, caller, stem)
                hits = judge.search(
                    query, None if near is None else asked(near), fits=fits, candidates=200
                )
                assert hits is not None
                assert Counter(row["chunk_id"] for row in found) == Counter(
                    hit.row.id for hit in hits
                ), (caller, query, drawn)
                check_context(found, hits)
                assert account(facets) == account_of(hits)
                if not drawn and all(hit.text is not None for hit in hits):
                    check_order(found, hits, 200, (1 if is_hybrid else 0, 2))

    @EXAMPLES
    @given(
        library=LIBRARIES,
        caller=st.sampled_from(CALLERS),
        query=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join),
        candidates=st.integers(1, 6),
        count=st.integers(1, 6),
        most=st.one_of(st.none(), st.integers(1, 2)),
    )
    def test_cuts_its_lists_as_the_judge_does(
        self,
        shelf: Connection,
        stem: Callable[[str, str], str | None],
        library: list[Document],
        caller: str,
        query: str,
        candidates: int,
        count: int,
        most: int | None,
    ):
        near = vector_of(query)
        with shelf.transaction(force_rollback=True):
            put(shelf, library)
            act_as(shelf, caller)
            found = call(
                shelf,
                "hybrid_search",
                query_text=query,
                query_embedding=literal(near),
                match_count=count,
                candidates=candidates,
                max_per_document=most,
            )
        hits = Judge(library, caller, stem).search(
            query, asked(near), candidates=max(candidates, count)
        )
        if hits is not None and most is not None:
            hits = capped(hits, most)
        if hits is None:  # ties may be cut in any order
            return
        check_order(found, hits, count, (1, 2))
        per_document = Counter(row["document_id"] for row in found)
        assert max(per_document.values(), default=0) <= (most or 99)

    @EXAMPLES
    @given(
        query=st.one_of(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=80),
            st.text("\"-*&|!():<>\\'„“ azA1", max_size=40),
            st.lists(st.sampled_from(WORDS), max_size=300).map(" -".join),
            st.sampled_from(["x" * 50_000, '"' * 9_999, "-a " * 4000, "東" * 9000, "a-" * 6000]),
        ),
        caller=st.sampled_from(CALLERS),
        is_hybrid=st.booleans(),
    )
    def test_answers_any_text_with_passages_of_the_caller(
        self, filled: list[Document], shelf: Connection, query: str, caller: str, *, is_hybrid: bool
    ):
        readable = {chunk for one in filled if one.is_for(caller) for chunk in one.ids}
        with shelf.transaction(force_rollback=True):
            act_as(shelf, caller)
            near = literal(vector_of("x")) if is_hybrid or not query.strip(" ") else None
            found = call(shelf, "hybrid_search", query_text=query, query_embedding=near)
            assert {row["chunk_id"] for row in found} <= readable
            for row in found:
                assert 0 <= row["score"] <= 1


def capped(hits: Sequence[Hit], most: int) -> list[Hit] | None:
    """The best hits of each document; None if another hit of one is as good as the last."""
    of_each: dict[UUID, list[Hit]] = {}
    for hit in sorted(hits, key=lambda one: -one.score((1, 2))):
        of_each.setdefault(hit.row.document.id, []).append(hit)
    for some in of_each.values():
        if len(some) > most and some[most - 1].score((1, 2)) - some[most].score((1, 2)) < 1e-3:
            return None
    return [hit for some in of_each.values() for hit in some[:most]]


def check_context(found: Sequence[dict[str, Any]], hits: Sequence[Hit]) -> None:
    """The context of each hit is its text, with that of its neighbours."""
    place = {hit.row.id: hit.row for hit in hits}
    for row in found:
        one = place[row["chunk_id"]]
        near = one.document.passages[max(one.place - 1, 0) : one.place + 2]
        assert row["context"] == "\n\n".join(passage.content for passage in near)


def account(facets: Sequence[dict[str, Any]]) -> dict[Any, Any]:
    return {(row["facet"], row["value"]): (row["chunks"], row["documents"]) for row in facets}


def account_of(hits: Sequence[Hit]) -> dict[Any, Any]:
    """The facets of these hits."""
    held: dict[Any, list[Any]] = {}
    for hit in hits:
        document = hit.row.document
        for key in (
            ("bucket", document.bucket),
            ("folder", document.name.rpartition("/")[0]),
            ("type", None),
            ("language", hit.row.language or None),
        ):
            held.setdefault(key, []).append(document.id)
    return {key: (len(ids), len(set(ids))) for key, ids in held.items()}


class TestMatchDocuments:
    @EXAMPLES
    @given(
        library=LIBRARIES,
        caller=st.sampled_from(CALLERS),
        wanted=st.one_of(
            st.none(),
            st.sampled_from(
                [
                    *({}, {"team": "red"}, {"n": {"x": [2]}}, {"headings": ["report"]}),
                    *({"headings": []}, {"title": "zubo"}, {"bucket_id": "second", "n": {}}),
                    *({"team": "blue", "headings": ["zubo"]}, {"headings": "report"}),
                    *({"page": 1}, {"chunk": {}}, {"team": None}, {"headings": ["nope"]}),
                ]
            ),
            st.integers(0, 6),
        ),
        count=st.one_of(st.none(), st.integers(1, 5), st.just(300)),
    )
    def test_finds_what_the_judge_finds(
        self,
        shelf: Connection,
        library: list[Document],
        caller: str,
        wanted: Any,
        count: int | None,
    ):
        near = vector_of(caller)
        with shelf.transaction(force_rollback=True):
            put(shelf, library)
            if isinstance(wanted, int):
                wanted = {"file_name": library[wanted % len(library)].name.rpartition("/")[2]}
            act_as(shelf, caller)
            found = call(
                shelf,
                "match_documents",
                query_embedding=literal(near),
                match_count=count,
                filter=None if wanted is None else Jsonb(wanted),
            )
        expected = {
            chunk: (float(vector @ asked(near)), passage.content, metadata)
            for one in library
            if one.is_for(caller)
            for chunk, passage, vector in zip(one.ids, one.passages, one.vectors, strict=True)
            if contains(metadata := metadata_of(one, passage), wanted or {})
        }
        assert len(found) == min(count or 200, len(expected))
        said = [row["similarity"] for row in found]
        assert said == sorted(said, reverse=True)
        best = sorted((one for one, _, _ in expected.values()), reverse=True)
        assert said == pytest.approx(best[: len(found)], abs=2e-3)
        for row in found:
            similarity, content, metadata = expected[row["id"]]
            assert row["similarity"] == pytest.approx(similarity, abs=2e-3)
            assert (row["content"], row["metadata"]) == (content, metadata)


class TestSimilar:
    @EXAMPLES
    @given(
        library=LIBRARIES,
        caller=st.sampled_from(CALLERS),
        place=st.integers(0, 6),
        long=st.integers(1, 20),
        count=st.integers(1, 7),
    )
    def test_finds_what_the_judge_finds(
        self,
        shelf: Connection,
        library: list[Document],
        caller: str,
        place: int,
        long: int,
        count: int,
    ):
        chosen = library[place % len(library)]
        chosen.passages = [Passage(f"x {number}") for number in range(long)]
        with shelf.transaction(force_rollback=True):
            put(shelf, library)
            act_as(shelf, caller)
            found = call(shelf, "similar", document_id=chosen.id, match_count=count)
        expected = similar(library, caller, chosen)
        assert len(found) == min(count, len(expected))
        said = [row["score"] for row in found]
        assert said == sorted(said, reverse=True)
        assert said == pytest.approx(
            sorted(expected.values(), reverse=True)[: len(found)], abs=2e-3
        )
        for row in found:
            assert row["score"] == pytest.approx(expected[row["id"]], abs=2e-3)


def test_nul_is_refused_before_it_reaches_a_search(shelf: Connection):
    with pytest.raises(psycopg.DataError):
        call(shelf, "hybrid_search", query_text="zubo\0")
