"""One transaction that is always rolled back, in which statements run as several actors."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from docmill.worker.store.database import Connection

#: The longest wait for a lock, so that this blocks others only briefly.
BOUNDS: Final[LiteralString] = """
    select set_config('lock_timeout', '2s', true), set_config('statement_timeout', '30s', true),
           set_config('idle_in_transaction_session_timeout', '60s', true),
           set_config('search_path', '', true), set_config('jit', 'off', true)
"""

# Runs statements with the rights of the current role and undoes each. A whole list takes one round
# trip. `changed`: the tables that a statement wrote to, as counted by pg_stat.
TRY: Final[LiteralString] = """
    create function pg_temp.docmill_try(p_statement text, p_watched oid[])
    returns jsonb language plpgsql as $body$
    declare
        v_before bigint[];
        v_after bigint[];
        v_rows jsonb;
        v_state text;
        v_message text;
        v_detail text;
        v_hint text;
    begin
        begin
            select array_agg(pg_catalog.pg_stat_get_xact_tuples_inserted(t)
                             + pg_catalog.pg_stat_get_xact_tuples_updated(t)
                             + pg_catalog.pg_stat_get_xact_tuples_deleted(t) order by t)
              into v_before from unnest(p_watched) as t;
            execute p_statement into v_rows;
            raise exception using errcode = 'DMTRY', message = 'undone';
        exception when others then
            get stacked diagnostics v_state = returned_sqlstate, v_message = message_text,
                v_detail = pg_exception_detail, v_hint = pg_exception_hint;
        end;
        select array_agg(pg_catalog.pg_stat_get_xact_tuples_inserted(t)
                         + pg_catalog.pg_stat_get_xact_tuples_updated(t)
                         + pg_catalog.pg_stat_get_xact_tuples_deleted(t) order by t)
          into v_after from unnest(p_watched) as t;
        return pg_catalog.jsonb_build_object(
            'state', nullif(v_state, 'DMTRY'), 'rows', v_rows,
            'text', case when v_state <> 'DMTRY' then concat_ws(' ', v_message, v_detail, v_hint)
                    else '' end,
            'changed', (select coalesce(jsonb_agg(t.oid::bigint), '[]')
                          from unnest(array(select unnest(p_watched) order by 1),
                                      v_before, v_after) as t(oid, before, after)
                         where t.before is distinct from t.after));
    end
    $body$
"""
ALLOW_TRY: Final[LiteralString] = """
    grant execute on function pg_temp.docmill_try to anon, authenticated, service_role
"""
RUN: Final[LiteralString] = """
    select pg_temp.docmill_try(statement, %(watched)s::oid[])
      from unnest(%(statements)s::text[]) with ordinality as t(statement, place) order by place
"""
BECOME: Final[LiteralString] = """
    select set_config('request.jwt.claims', %(claims)s, true), set_config('role', %(role)s, true)
"""
#: Statements per round trip.
_BATCH: Final = 40

#: The error for missing privileges, and for writes that a policy forbids.
REFUSED: Final = "42501"


@dataclass(frozen=True)
class Actor:
    """A caller: a role and the claims of a token."""

    name: str
    role: str
    claims: Mapping[str, str]

    @property
    def sub(self) -> str | None:
        """The subject of the token."""
        return self.claims.get("sub")


@dataclass(frozen=True)
class Trial:
    """The result of one statement. State None: it succeeded, and was undone."""

    state: str | None
    rows: Any
    text: str
    changed: Sequence[int]

    @property
    def said(self) -> str:
        """Everything that the caller sees: the rows, or the error."""
        return f"{json.dumps(self.rows)} {self.text}"


class Session:
    """The open transaction; it leaves no changes behind."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def run(
        self, actor: Actor, statements: Sequence[sql.Composable], watched: Sequence[int] = ()
    ) -> list[Trial]:
        """Try statements as an actor; each is undone. Raises errors that end the whole batch."""
        texts = [statement.as_string(self.connection) for statement in statements]
        trials: list[Trial] = []
        with self.acting(actor):
            for first in range(0, len(texts), _BATCH):
                rows = self.connection.execute(
                    RUN, {"statements": texts[first : first + _BATCH], "watched": list(watched)}
                ).fetchall()
                trials += [Trial(**row[0]) for row in rows]
        return trials

    @contextmanager
    def acting(self, actor: Actor) -> Iterator[None]:
        """Set role and claims, as the Data API does for a request."""
        claims = json.dumps({**actor.claims, "role": actor.role})
        with self.connection.transaction():
            self.connection.execute(BECOME, {"claims": claims, "role": actor.role})
            yield
            self.connection.execute(BECOME, {"claims": "", "role": "none"})


@contextmanager
def rolled_back(connection: Connection) -> Iterator[Session]:
    """A transaction with short time limits that is always rolled back."""
    with connection.transaction(force_rollback=True):
        connection.execute(BOUNDS)
        connection.execute(TRY)
        connection.execute(ALLOW_TRY)
        yield Session(connection)


def without_triggers(connection: Connection) -> bool:
    """Disable the project's own triggers until `with_triggers`, if that is allowed."""
    try:
        with connection.transaction():
            connection.execute("set local session_replication_role = replica")
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def with_triggers(connection: Connection) -> None:
    """Enable the triggers again after `without_triggers`."""
    connection.execute("set local session_replication_role = origin")
