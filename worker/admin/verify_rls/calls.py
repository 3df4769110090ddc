"""Calls every function that clients may execute, about the caller's own data and others'."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import sql

from docmill.worker.admin.verify_rls.catalog import (
    Column,
    Function,
    IndexVersion,
    Relation,
)
from docmill.worker.admin.verify_rls.findings import Finding
from docmill.worker.admin.verify_rls.rows import TENANT_COLUMNS
from docmill.worker.admin.verify_rls.scene import Scene
from docmill.worker.admin.verify_rls.session import Actor, Session, Trial
from docmill.worker.admin.verify_rls.tenants import THINGS, Cast, Item, forbidden_to
from docmill.worker.admin.verify_rls.values import Value, made_for, type_name
from docmill.worker.store.database import Connection

#: The most calls of one function by one actor about one item.
_MOST_CALLS: Final = 60
#: Extreme values for types whose values belong to nobody.
_GUESSES: Final[Mapping[str, Sequence[str]]] = {
    "double precision": ("-1", "1"),
    "real": ("-1", "1"),
    "jsonb": ("{}",),
    "boolean": ("true", "false"),
    "timestamp with time zone": ("-infinity", "infinity"),
}
_REMEDY: Final = "it must run with the caller's rights, or ask first whose its arguments are"


@dataclass(frozen=True)
class Call:
    """One call, and the ids in its arguments: if it returns these, it reveals nothing."""

    statement: sql.Composed
    said: frozenset[str]


def try_calls(scene: Scene) -> Iterator[Finding]:
    """Find functions that reveal data of others to a caller, or change it."""
    callers = _callers(scene)
    for function in scene.catalog.functions:
        if function.is_trigger:
            continue
        if function.schema == "ingest_private" and function.in_body:
            # Tested through the functions that call it, with their arguments.
            yield Finding("calls", function.signature, "ok", "called by our functions alone")
            continue
        if function.oid in callers:
            yield _try_function(scene, function, callers[function.oid])
        else:
            yield Finding("calls", function.signature, "ok", "closed to clients")


def _callers(scene: Scene) -> dict[int, list[Actor]]:
    """The actors that may execute each function.

    The second tenant has the same rights as the first; the service role may read and call
    everything.
    """
    cast = scene.cast
    actors = [a for a in cast.actors if a is not cast.second and a.role != "service_role"]
    may = set(
        scene.session.connection.execute(
            """select f.oid::bigint, r.rolname::text
                 from unnest(%s::oid[]) as f(oid) cross join pg_roles as r
                where r.rolname = any(%s) and has_function_privilege(r.oid, f.oid, 'execute')""",
            [[f.oid for f in scene.catalog.functions], [actor.role for actor in actors]],
        ).fetchall()
    )
    callers = {
        function.oid: [actor for actor in actors if (function.oid, actor.role) in may]
        for function in scene.catalog.functions
    }
    return {oid: actors for oid, actors in callers.items() if actors}


def _try_function(scene: Scene, function: Function, actors: Sequence[Actor]) -> Finding:
    if function.kind != "f":
        return _warning(function, f"pg_proc.prokind is {function.kind}")
    leaks: list[str] = []
    states: set[str | None] = set()
    for actor in actors:
        try:
            for item in _subjects(actor, scene.cast):
                leaks += _try_with(scene, function, actor, item, states)
        except (psycopg.errors.QueryCanceled, _NotCallableError) as error:
            return _warning(function, str(error).splitlines()[0])
    if leaks:
        seen = "; ".join(dict.fromkeys(leaks))
        return Finding("calls", function.signature, "leak", seen, _REMEDY)
    if None not in states:
        return _warning(function, f"no call went through ({', '.join(sorted(map(str, states)))})")
    return Finding("calls", function.signature, "ok")


def _try_with(
    scene: Scene, function: Function, actor: Actor, item: Item, states: set[str | None]
) -> Iterator[str]:
    """Everything that calls about one item reveal to one actor, or change."""
    calls = calls_of(scene, function, item)
    theirs = forbidden_to(
        actor, scene.cast.items, scene.readable, named_by_policies=_is_hidden(function)
    )
    watched = [relation.oid for relation in scene.catalog.relations if relation.kind == "r"]
    trials = scene.session.run(actor, [call.statement for call in calls], watched)
    for call, trial in zip(calls, trials, strict=True):
        states.add(trial.state)
        yield from _told(actor, theirs, call, trial)
        yield from _done(scene, actor, call, trial)


def _warning(function: Function, why: str) -> Finding:
    return Finding("calls", function.signature, "warning", f"not tried: {why}")


class _NotCallableError(Exception):
    """No value is known for an argument."""


def _is_hidden(function: Function) -> bool:
    return function.schema == "ingest_private" and function.in_policy


def _subjects(actor: Actor, cast: Cast) -> list[Item]:
    """The items to ask about: the actor's own existing documents, then everybody else's."""
    own = cast.items_of(actor)
    others = [item for item in cast.items if item not in own and item.owner != cast.first.sub]
    return [item for item in own if not item.is_gone] + others


def calls_of(scene: Scene, function: Function, item: Item) -> list[Call]:
    """Calls about one item: the most likely arguments, then calls with one argument changed."""
    versions = scene.catalog.versions
    version = versions[0] if versions else IndexVersion(0, "", 8)
    options = [_arguments(function, place, item, version) for place in range(len(function.types))]
    required = len(function.types) - function.defaults
    for place in range(required):
        if not options[place]:
            raise _NotCallableError(f"no value for an argument of type {function.types[place]}")
    calls = [
        _call(function, {p: options[p][n] for p, n in enumerate(choice) if n is not None}, item)
        for choice in _choices([len(values) for values in options], required)[:_MOST_CALLS]
    ]
    return _through_views(scene.session, function, calls) if _is_hidden(function) else calls


def _choices(sizes: Sequence[int], required: int) -> list[list[int | None]]:
    """The index of each argument's value, for each call; None leaves the default."""
    base: list[int | None] = [0 if place < required else None for place in range(len(sizes))]
    choices = [base]
    for place, size in enumerate(sizes):
        for number in range(size):
            choice = [*base]
            choice[place] = number
            if choice not in choices:
                choices.append(choice)
    return choices


def _arguments(function: Function, place: int, item: Item, version: IndexVersion) -> list[Value]:
    """Values for one argument, chosen by its type and name; null comes last."""
    type_ = function.types[place]
    name = function.names[place] if place < len(function.names) else ""
    kind = type_name(type_)
    if kind in ("uuid", "uuid[]"):
        ids = _ids(name, item)
        return [*(ids if kind == "uuid" else [f"{{{one}}}" for one in ids]), None]
    if kind in ("text", "character varying", "name"):
        return [*_texts(function, name, item, version), None]
    if kind in ("integer", "bigint", "smallint", "numeric"):
        return [*_numbers(name, version), None]
    if kind in _GUESSES:
        return [*_GUESSES[kind], None]
    column = Column(0, name, type_, type_, -1, True, False, False, None, False)
    made = made_for(column, item, version)
    if made is None:
        return []
    return [made, *(["{}"] if kind.endswith("[]") else []), None]


def _ids(name: str, item: Item) -> list[str]:
    likely = item.id(name if name.endswith("_id") else f"{name.removesuffix('s')}_id")
    return list(dict.fromkeys([likely, *(item.id(f"{thing}_id") for thing in THINGS)]))


def _numbers(name: str, version: IndexVersion) -> list[str]:
    if "version" in name:
        return [str(version.id)]
    if "dimension" in name:
        return [str(version.dimensions)]
    return ["100", "1", "0"]


def _texts(function: Function, name: str, item: Item, version: IndexVersion) -> list[str]:
    # Constants that the function compares its arguments with are in its source.
    literals = re.findall(r"'([\w ]{1,40})'", function.source)
    owner = item.owner or "nobody"
    guesses = [version.model] if "model" in name else []
    if "sub" in name or "owner" in name:
        guesses.append(owner)
    if "query" in name:
        guesses.append(item.marker)
    guesses += [*dict.fromkeys(literals), owner, item.marker, version.model, ""]
    return list(dict.fromkeys(guesses))


def _call(function: Function, values: Mapping[int, Value], item: Item) -> Call:
    arguments = []
    for place, text in values.items():
        value = sql.SQL("{}::{}").format(
            sql.Literal(text),
            sql.SQL(function.types[place]),
        )
        name = function.names[place] if place < len(function.names) else ""
        arguments.append(sql.SQL("{} => {}").format(sql.Identifier(name), value) if name else value)
    statement = sql.SQL(
        """select coalesce(jsonb_agg(t.line), '[]')
             from (select x::text as line from {}({}) as x limit 1000) as t"""
    ).format(sql.Identifier(function.schema, function.name), sql.SQL(", ").join(arguments))
    passed = " ".join(value for value in values.values() if value)
    said = {text for text in {*item.canaries, item.owner or ""} if text and text in passed}
    return Call(statement, frozenset(said))


def _through_views(session: Session, function: Function, calls: Sequence[Call]) -> list[Call]:
    """Call functions of policies through views, which execute them as the reader, like a policy."""
    through = []
    for number, call in enumerate(calls):
        view = sql.Identifier(f"docmill_{function.oid}_{number}")
        session.connection.execute(
            sql.SQL("create or replace temp view {} with (security_invoker = true) as {}").format(
                view, call.statement
            )
        )
        session.connection.execute(
            sql.SQL("grant select on pg_temp.{} to anon, authenticated, service_role").format(view)
        )
        through.append(Call(sql.SQL("select * from pg_temp.{}").format(view), call.said))
    return through


def _told(actor: Actor, theirs: Mapping[str, Item], call: Call, trial: Trial) -> Iterator[str]:
    heard = trial.said
    for text, item in theirs.items():
        if text in heard and text not in call.said:
            yield f"{actor.name} is told of {item.title}"


def _done(scene: Scene, actor: Actor, call: Call, trial: Trial) -> Iterator[str]:
    """Repeat a call that wrote something, and compare the rows of all others."""
    others = [item for item in scene.cast.items if item.owner is None or item.owner != actor.sub]
    tables = [relation for relation in scene.catalog.relations if relation.oid in trial.changed]
    if not tables:
        return
    connection = scene.session.connection
    with connection.transaction(force_rollback=True):
        before = [_sum(connection, table, others) for table in tables]
        try:
            with scene.session.acting(actor):
                connection.execute(call.statement)
        except psycopg.Error:
            return  # its changes are rolled back
        after = [_sum(connection, table, others) for table in tables]
    for table, old, new in zip(tables, before, after, strict=True):
        if old != new:
            yield f"{actor.name} changed rows of others in {table.title}"


def _sum(connection: Connection, table: Relation, items: Sequence[Item]) -> object:
    """A checksum of the rows of a table that belong to these items."""
    conditions: list[sql.Composable] = [sql.SQL("false")]
    for column in table.columns:
        if column.name in TENANT_COLUMNS:
            owned = [item.owner for item in items if item.owner]
            ids = owned if column.name == "owner_id" else [i.id(column.name) for i in items]
            conditions.append(
                sql.SQL("t.{} = any({}::{}[])").format(
                    sql.Identifier(column.name),
                    sql.Literal(ids),
                    sql.SQL(column.declared),
                )
            )
    return connection.execute(
        sql.SQL(
            "select count(*), sum(pg_catalog.hashtextextended(t::text, 0)) from {} as t where {}"
        ).format(sql.Identifier(table.schema, table.name), sql.SQL(" or ").join(conditions))
    ).fetchone()
