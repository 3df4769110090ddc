"""What queries cost: booked on the caller, at the workers' price, and counted by no budget."""

from typing import Any

import pytest
from psycopg.errors import DatabaseError
from psycopg.types.json import Jsonb

from tests.schema.actors import MODEL, Connection, claim, job_of, rows, value
from tests.support.database import Database, as_client, put_object

RECORD = "select ingest.record_query(%s, %s)"


def record(wiped: Database, tokens: int | None, *, version: int = 1, **claims: str) -> None:
    with as_client(wiped, claims or {"sub": "alice"}) as client:
        client.execute(RECORD, [version, tokens])


def refused(sqlstate: str) -> Any:
    return pytest.raises(DatabaseError, check=lambda error: error.sqlstate == sqlstate)


def note_prices(worker: Connection, **prices: dict[str, float]) -> None:
    worker.execute("select ingest_private.note_prices(%s)", [Jsonb(prices)])


def ledger(admin: Connection) -> list[tuple[str, str, str, int, float]]:
    found = rows(
        admin,
        """select owner_id, model, purpose, tokens::int, usd::float from ingest.usage
            order by owner_id""",
    )
    return [tuple(row.values()) for row in found]


@pytest.fixture(autouse=True)
def usual_settings(admin: Connection):
    """Settings outlive a test, so this resets them."""
    yield
    admin.execute(
        "delete from ingest_private.settings where name in ('prices', 'searching', 'asking')"
    )


class TestRecordQuery:
    def test_books_on_the_caller_at_the_price_that_workers_know(
        self, wiped: Database, admin: Connection, worker: Connection
    ):
        provider = value(admin, "select provider from ingest.index_versions where id = 1")
        note_prices(worker, **{provider: {MODEL: 50.0, "": 9.0}, "other": {MODEL: 1.0}})
        record(wiped, 1000)
        record(wiped, 500)
        record(wiped, 10, sub="bob", role="authenticated")
        assert ledger(admin) == [
            ("alice", MODEL, "query", 1500, 0.075),
            ("bob", MODEL, "query", 10, 0.0005),
        ]
        assert rows(
            admin,
            """select purpose, sum(tokens)::int as tokens, sum(usd)::float as usd
                 from ingest_private.spend group by 1""",
        ) == [{"purpose": "query", "tokens": 1510, "usd": 0.0755}]

    def test_takes_the_price_of_any_model_where_its_own_is_not_known(
        self, wiped: Database, admin: Connection, worker: Connection
    ):
        provider = value(admin, "select provider from ingest.index_versions where id = 1")
        note_prices(worker, **{provider: {"": 9.0}})
        record(wiped, 1_000)
        assert ledger(admin) == [("alice", MODEL, "query", 1000, 0.009)]

    def test_books_tokens_before_any_worker_has_told_a_price(
        self, wiped: Database, admin: Connection
    ):
        record(wiped, 7)
        assert ledger(admin) == [("alice", MODEL, "query", 7, 0)]

    def test_with_the_secret_key_books_on_nobody(self, wiped: Database, admin: Connection):
        record(wiped, 7, role="service_role", sub="alice")
        assert ledger(admin) == []
        assert value(admin, "select sum(tokens)::int from ingest_private.spend") == 7

    def test_refuses_who_is_nobody(self, wiped: Database):
        with refused("PT401"):
            record(wiped, 7, role="authenticated")
        with as_client(wiped, None) as client, refused("42501"):
            client.execute(RECORD, [1, 7])

    @pytest.mark.parametrize("tokens", [-1, 32_001, None])
    def test_refuses_what_no_query_has(
        self, wiped: Database, admin: Connection, tokens: int | None
    ):
        with refused("22023"):
            record(wiped, tokens)
        assert ledger(admin) == []

    def test_makes_no_row_for_a_version_that_is_not_there(self, wiped: Database, admin: Connection):
        with refused("22023"):
            record(wiped, 1, version=999)
        assert ledger(admin) == []

    def test_books_no_more_often_than_a_user_may_search(self, wiped: Database, admin: Connection):
        admin.execute(
            """insert into ingest_private.settings values ('searching', '{"per_minute": 2}'),
                      ('asking', '{"per_minute": 1}')"""
        )
        record(wiped, 1)
        record(wiped, 1)
        with refused("PT429"):
            record(wiped, 1)
        record(wiped, 1, sub="bob")
        # Queries are counted apart from questions.
        with as_client(wiped, {"sub": "alice"}) as client:
            client.execute("select ingest.ask_question('Who?')")
        assert [tokens for _, _, _, tokens, _ in ledger(admin)] == [2, 1]

    def test_counts_for_no_budget(self, wiped: Database, admin: Connection, worker: Connection):
        provider = value(admin, "select provider from ingest.index_versions where id = 1")
        note_prices(worker, **{provider: {MODEL: 1e6}})
        for scope, key in (("everything", ""), ("each_owner", ""), ("owner", "alice")):
            admin.execute(
                """insert into ingest_private.budgets (scope, key, period, usd)
                   values (%s, %s, 'day', 1)""",
                [scope, key],
            )
        record(wiped, 32_000)
        assert ledger(admin)[0][-1] == 32_000
        assert claim(worker, job_of(admin, put_object(admin, "a.txt", owner="alice"))) is not None
        used = "select count(*)::int, max(spent) from ingest_private.budgets_used('alice', false)"
        assert rows(admin, used) == [{"count": 2, "max": 0}]

    def test_lets_an_owner_read_only_their_own(self, wiped: Database):
        record(wiped, 1)
        record(wiped, 1, sub="bob")
        with as_client(wiped, {"sub": "bob"}, read_only=True) as client:
            found = rows(client, "select owner_id, purpose from ingest.usage")
        assert found == [{"owner_id": "bob", "purpose": "query"}]


def test_prices_of_a_worker_leave_those_of_other_providers(admin: Connection, worker: Connection):
    note_prices(worker, one={"m": 1.0}, two={"m": 2.0})
    note_prices(worker, two={"m": 3.0})
    assert value(admin, "select value from ingest_private.settings where name = 'prices'") == {
        "one": {"m": 1.0},
        "two": {"m": 3.0},
    }
