"""Conversations: users write and read only their own; sources need their present rights."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import errors as pg
from psycopg.errors import DatabaseError
from psycopg.types.json import Jsonb

from tests.schema.actors import (
    Background,
    Connection,
    Row,
    chunks_of,
    document_of,
    ingest,
    rows,
    upload,
    value,
)
from tests.support.database import Database, as_client, delete_objects, put_object


def ask(
    wiped: Database, question: str = "Who?", conversation: UUID | None = None, sub: str = "alice"
) -> Row:
    with as_client(wiped, {"sub": sub}) as client:
        found = rows(client, "select * from ingest.ask_question(%s, %s)", question, conversation)
    return found[0]


def answer(
    wiped: Database,
    question: UUID,
    text: str = "Bob [1].",
    *,
    sources: list[tuple[UUID, UUID]] | None = None,
    cited: list[int] | None = None,
    sub: str = "alice",
) -> UUID:
    sources = sources or []
    with as_client(wiped, {"sub": sub}) as client:
        return UUID(
            str(
                value(
                    client,
                    "select ingest.record_answer(%s, %s, %s, %s, %s::smallint[])",
                    *(question, text),
                    [chunk for chunk, _ in sources],
                    [document for _, document in sources],
                    cited or [],
                )
            )
        )


def seen(wiped: Database, message: UUID, **claims: str) -> list[Row]:
    with as_client(wiped, claims, read_only=True) as client:
        return rows(client, "select * from ingest.message_sources(%s)", message)


def limit(admin: Connection, **limits: int) -> None:
    admin.execute(
        """insert into ingest_private.settings values ('asking', %s)
           on conflict (name) do update set value = excluded.value""",
        [Jsonb(limits)],
    )


@pytest.fixture(autouse=True)
def usual_limits(admin: Connection):
    """Settings outlive a test, so this resets them."""
    yield
    admin.execute("delete from ingest_private.settings where name = 'asking'")


def refused(sqlstate: str) -> Any:
    return pytest.raises(DatabaseError, check=lambda error: error.sqlstate == sqlstate)


class TestConversations:
    def test_hold_questions_and_answers_in_their_order(self, wiped: Database):
        first = ask(wiped, "Who  is\nit?")
        assert first["history"] == []
        answer(wiped, first["message_id"])
        second = ask(wiped, "And then?", first["conversation"])
        assert second["conversation"] == first["conversation"]
        assert second["history"] == [
            {"role": "user", "content": "Who  is\nit?"},
            {"role": "assistant", "content": "Bob [1]."},
        ]
        with as_client(wiped, {"sub": "alice"}, read_only=True) as client:
            said = rows(client, "select turn, role from ingest.messages order by turn, role desc")
            assert [(row["turn"], row["role"]) for row in said] == [
                (1, "user"),
                (1, "assistant"),
                (2, "user"),
            ]
            assert rows(client, "select title, turns from ingest.conversations") == [
                {"title": "Who is it?", "turns": 2}
            ]

    def test_tell_of_the_last_three_answered_questions(self, wiped: Database):
        conversation = None
        for number in range(6):
            asked = ask(wiped, f"q{number}", conversation)
            conversation = asked["conversation"]
            if number != 3:
                answer(wiped, asked["message_id"], f"a{number}")
        told = ask(wiped, "more", conversation)["history"]
        assert [one["content"] for one in told] == [
            *("q2", "a2", "q4", "a4", "q5", "a5"),
        ]

    def test_are_not_others(self, wiped: Database):
        asked = ask(wiped)
        with refused("PT404"):
            ask(wiped, "Me too", asked["conversation"], sub="mallory")
        with refused("PT404"):
            answer(wiped, asked["message_id"], sub="mallory")
        with as_client(wiped, {"sub": "mallory"}) as client:
            assert value(
                client, "select ingest.delete_conversation(%s)", asked["conversation"]
            ) is (False)
            assert rows(client, "select from ingest.conversations") == []
            assert rows(client, "select from ingest.messages") == []
        answer(wiped, asked["message_id"])

    @pytest.mark.parametrize("claims", [{"role": "authenticated"}, {"role": "service_role"}])
    def test_are_for_users_with_a_subject(self, wiped: Database, claims: dict[str, str]):
        for call in (
            "select ingest.ask_question('Who?')",
            f"select ingest.delete_conversation('{uuid4()}')",
            f"select ingest.record_answer('{uuid4()}', 'x', null, null, null)",
        ):
            with as_client(wiped, claims) as client, refused("PT401"):
                client.execute(call.encode())

    def test_take_one_answer_for_each_question(self, wiped: Database):
        asked = ask(wiped)
        message = answer(wiped, asked["message_id"])
        with refused("PT409"):
            answer(wiped, asked["message_id"], "Another [1].")
        with refused("PT404"):
            answer(wiped, message, "An answer to an answer.")

    def test_end_after_a_hundred_questions(self, wiped: Database, admin: Connection):
        asked = ask(wiped)
        admin.execute("update ingest.conversations set turns = 99")
        ask(wiped, "The last", asked["conversation"])
        with refused("PT409"):
            ask(wiped, "One more", asked["conversation"])

    def test_take_no_question_that_is_too_long_or_empty(self, wiped: Database, admin: Connection):
        for question in ("", "x" * 4001):
            with pytest.raises(pg.CheckViolation):
                ask(wiped, question)
        assert value(admin, "select count(*) from ingest.conversations") == 0

    def test_go_with_their_messages_when_their_owner_deletes_them(
        self, wiped: Database, admin: Connection
    ):
        asked, other = ask(wiped), ask(wiped, sub="bob")
        answer(wiped, asked["message_id"])
        with as_client(wiped, {"sub": "alice"}) as client:
            assert value(client, "select ingest.delete_conversation(%s)", asked["conversation"])
        assert rows(admin, "select id from ingest.messages") == [{"id": other["message_id"]}]

    def test_of_a_user_are_erased_by_an_operator_and_nobody_else_s(
        self, wiped: Database, admin: Connection
    ):
        ask(wiped)
        ask(wiped)
        other = ask(wiped, sub="bob")
        assert value(admin, "select ingest_private.erase_conversations('alice')") == 2
        assert rows(admin, "select id from ingest.conversations") == [{"id": other["conversation"]}]
        assert rows(admin, "select distinct owner_id from ingest_private.question_counts") == [
            {"owner_id": "bob"}
        ]


class TestLimit:
    def test_of_a_minute_tells_when_to_come_back(self, wiped: Database, admin: Connection):
        limit(admin, per_minute=2)
        asked = ask(wiped)
        ask(wiped)
        with as_client(wiped, {"sub": "alice"}) as client, refused("PT429") as raised:
            client.execute("select ingest.ask_question('Who?')")
        assert 0 < int(raised.value.diag.message_detail or "") <= 60
        ask(wiped, sub="bob")
        # A deleted question still counts as asked.
        with as_client(wiped, {"sub": "alice"}) as client:
            client.execute("select ingest.delete_conversation(%s)", [asked["conversation"]])
        with refused("PT429"):
            ask(wiped)
        admin.execute(
            """update ingest_private.question_counts set began_at = began_at - interval '1 minute'
                where period = 'minute'"""
        )
        ask(wiped)

    def test_of_a_day_counts_what_minutes_forget(self, wiped: Database, admin: Connection):
        limit(admin, per_day=2)
        for _ in range(2):
            ask(wiped)
            admin.execute(
                """update ingest_private.question_counts set began_at = began_at - interval '1 hour'
                    where period = 'minute'"""
            )
        with refused("PT429"):
            ask(wiped)

    def test_holds_for_questions_at_the_same_time(self, wiped: Database, admin: Connection):
        limit(admin, per_minute=1)

        def second() -> None:
            with refused("PT429"):
                ask(wiped)

        with as_client(wiped, {"sub": "alice"}) as first:
            first.execute("select ingest.ask_question('Who?')")
            background = Background(second)
            wait_for_any_block(admin, background)
        background()


def wait_for_any_block(admin: Connection, background: Background) -> None:
    """Wait until some backend waits for a lock."""
    while not value(
        admin,
        "select exists (select from pg_stat_activity where cardinality(pg_blocking_pids(pid)) > 0)",
    ):
        assert not background.ended
        admin.execute("select pg_sleep(0.002)")


class TestSources:
    @pytest.fixture
    def object_id(self, wiped: Database) -> UUID:
        return upload(wiped, "alice/a.txt", ["one", "two"])

    @pytest.fixture
    def sources(self, admin: Connection, object_id: UUID) -> list[tuple[UUID, UUID]]:
        document = document_of(admin, object_id)["id"]
        chunks = chunks_of(admin, document)
        return [(chunks["two"], document), (chunks["one"], document)]

    def test_are_read_anew(self, wiped: Database, sources: list[tuple[UUID, UUID]]):
        message = answer(wiped, ask(wiped)["message_id"], sources=sources, cited=[2])
        shown = seen(wiped, message, sub="alice")
        assert [
            (row["number"], row["content"], row["is_cited"], row["state"], row["object_name"])
            for row in shown
        ] == [
            (1, "two", False, "available", "alice/a.txt"),
            (2, "one", True, "available", "alice/a.txt"),
        ]
        assert shown[0]["page_start"] == 1
        assert seen(wiped, message, sub="mallory") == []
        assert seen(wiped, message, role="authenticated") == []
        assert [row["content"] for row in seen(wiped, message, role="service_role")] == [
            *("two", "one")
        ]

    def test_that_are_anothers_say_nothing(self, wiped: Database, sources: list[tuple[UUID, UUID]]):
        """A client may write any id into its own answer, but reads nothing more by this."""
        message = answer(
            wiped, ask(wiped, sub="mallory")["message_id"], sources=sources, sub="mallory"
        )
        assert [
            (row["state"], row["content"], row["object_name"])
            for row in seen(wiped, message, sub="mallory")
        ] == [("gone", None, None)] * 2

    def test_of_a_document_that_changed_say_so(
        self, wiped: Database, admin: Connection, sources: list[tuple[UUID, UUID]]
    ):
        message = answer(wiped, ask(wiped)["message_id"], sources=sources)
        ingest(admin, put_object(admin, "alice/a.txt", owner="alice"), ["one", "three"])
        assert [
            (row["state"], row["content"], row["object_name"])
            for row in seen(wiped, message, sub="alice")
        ] == [("changed", None, "alice/a.txt"), ("available", "one", "alice/a.txt")]

    def test_of_a_deleted_document_are_gone(
        self, wiped: Database, admin: Connection, sources: list[tuple[UUID, UUID]]
    ):
        message = answer(wiped, ask(wiped)["message_id"], sources=sources)
        delete_objects(admin, ["alice/a.txt"])
        for claims in ({"sub": "alice"}, {"role": "service_role"}):
            assert [(row["state"], row["content"]) for row in seen(wiped, message, **claims)] == [
                ("gone", None)
            ] * 2

    def test_that_a_pending_event_hides_are_gone(
        self,
        wiped: Database,
        admin: Connection,
        object_id: UUID,
        sources: list[tuple[UUID, UUID]],
    ):
        message = answer(wiped, ask(wiped)["message_id"], sources=sources)
        admin.execute(
            """insert into ingest_private.pending_events (object_id, reason, hides)
               values (%s, 'x', true)""",
            [object_id],
        )
        for claims in ({"sub": "alice"}, {"role": "service_role"}):
            assert {row["state"] for row in seen(wiped, message, **claims)} == {"gone"}
