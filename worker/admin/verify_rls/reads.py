"""Every actor tries to read and write every table, partition, view and sequence."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

from docmill.worker.admin.verify_rls.catalog import Relation
from docmill.worker.admin.verify_rls.findings import APPLY, Finding
from docmill.worker.admin.verify_rls.rows import Planted
from docmill.worker.admin.verify_rls.scene import Scene
from docmill.worker.admin.verify_rls.session import REFUSED, Actor, Trial
from docmill.worker.admin.verify_rls.tenants import (
    SHARED,
    Item,
    forbidden_to,
    may_read,
)

_REMEDY = "compare its policies and grants with docmill's: " + APPLY


@dataclass(frozen=True)
class Look:
    """What an actor saw of a relation, and the test rows in it."""

    relation: Relation
    actor: Actor
    trial: Trial
    rows: Mapping[tuple[int, str], Item]

    @property
    def seen(self) -> list[Item]:
        """The items whose rows were shown."""
        return [
            self.rows[oid, ctid] for oid, ctid in self.trial.rows or () if (oid, ctid) in self.rows
        ]


def try_reads(scene: Scene, planted: Planted) -> Iterator[Finding]:
    """Report rows that an actor wrongly sees, and owners who do not see their own rows."""
    relations = scene.catalog.relations
    parents = _rows_of_parents(scene, planted)
    leaks: dict[str, list[str]] = defaultdict(list)
    silent: dict[str, str] = {}
    for actor in scene.cast.actors:
        statements = [_read(relation, parents.get(relation.oid, {})) for relation in relations]
        try:
            trials = scene.session.run(actor, statements)
        except psycopg.errors.QueryCanceled:
            yield Finding("reads", actor.name, "warning", "not tried: it took too long")
            continue
        for relation, trial in zip(relations, trials, strict=True):
            look = Look(relation, actor, trial, parents.get(relation.oid, {}))
            leaks[relation.title] += _wrongly_seen(scene, look)
            if trial.state is None and _is_blind(scene, look):
                silent[relation.title] = f"{actor.name} sees none of their own rows: no proof"
    for relation in relations:
        yield _verdict(relation, leaks[relation.title], silent.get(relation.title))


def _verdict(relation: Relation, leaks: list[str], silent: str | None) -> Finding:
    if leaks:
        return Finding("reads", relation.title, "leak", "; ".join(dict.fromkeys(leaks)), _REMEDY)
    if silent:
        return Finding("reads", relation.title, "warning", silent, _REMEDY)
    return Finding("reads", relation.title, "ok")


def _rows_of_parents(scene: Scene, planted: Planted) -> Mapping[int, dict[tuple[int, str], Item]]:
    """The test rows in each relation: a parent also shows the rows of its partitions."""
    parents = dict(
        scene.session.connection.execute(
            """select i.inhrelid::bigint, i.inhparent::bigint from pg_inherits as i
                where i.inhrelid = any(%s::oid[])""",
            [[relation.oid for relation in scene.catalog.relations]],
        ).fetchall()
    )
    seen: dict[int, dict[tuple[int, str], Item]] = defaultdict(dict)
    for (oid, ctid), item in planted.rows.items():
        relation: int | None = oid
        while relation is not None:
            seen[relation][oid, ctid] = item
            relation = parents.get(relation)
    return seen


def _read(relation: Relation, rows: Mapping[tuple[int, str], Item]) -> sql.Composed:
    table = sql.Identifier(relation.schema, relation.name)
    if relation.kind == "S":
        return sql.SQL("select to_jsonb(last_value) from {}").format(table)
    if not relation.is_table or not rows:
        # Any rows, but no more than a report needs.
        return sql.SQL(
            "select coalesce(jsonb_agg(t), '[]') from (select t::text from {} as t limit 1000) as t"
        ).format(table)
    # Select by position, so that a large table is not scanned.
    places = "{" + ",".join(f'"{ctid}"' for _oid, ctid in rows) + "}"
    return sql.SQL(
        """select coalesce(jsonb_agg(jsonb_build_array(t.tableoid::bigint, t.ctid::text)), '[]')
             from {} as t where t.ctid = any({}::tid[])"""
    ).format(table, sql.Literal(places))


def _wrongly_seen(scene: Scene, look: Look) -> list[str]:
    relation, actor, trial = look.relation, look.actor, look.trial
    if trial.state == REFUSED:
        return []
    if relation.is_private or actor.role == "anon":
        if trial.state is None:
            return [f"{actor.name} may select from it"]
        return [f"{actor.name} is not refused ({trial.state})"]
    if relation.title in SHARED or trial.state is not None:
        return []
    if relation.is_table and look.rows:
        return [
            f"{actor.name} sees {item.title}"
            for item in look.seen
            if not may_read(actor, item, relation, scene.readable)
        ]
    theirs = forbidden_to(actor, scene.cast.items, scene.readable)
    heard = trial.said
    return [f"{actor.name} sees {item.title}" for text, item in theirs.items() if text in heard]


def _is_blind(scene: Scene, look: Look) -> bool:
    """Whether owners do not even see their own rows; then other missing rows prove nothing."""
    own = [
        item
        for item in look.rows.values()
        if look.actor.sub == item.owner
        and may_read(look.actor, item, look.relation, scene.readable)
    ]
    is_owner = look.relation.is_table and look.actor.sub is not None
    return bool(is_owner and own) and not any(item in own for item in look.seen)


def try_writes(scene: Scene) -> Iterator[Finding]:
    """Try to insert, update and delete. No row changes: PostgreSQL checks rights before that."""
    leaks: dict[str, list[str]] = defaultdict(list)
    tables = [relation for relation in scene.catalog.relations if relation.kind != "S"]
    for actor in scene.cast.actors:
        tries = [(table, verb, way) for table in tables for verb, way in _writes(table)]
        trials = scene.session.run(actor, [way for _table, _verb, way in tries])
        for (table, verb, _way), trial in zip(tries, trials, strict=True):
            # A view may refuse all writes for other reasons; for a table only a missing right
            # counts.
            if trial.state is None or (table.is_table and trial.state != REFUSED):
                leaks[table.title].append(f"{actor.name} may {verb}")
    for table in tables:
        if leaks[table.title]:
            yield Finding("writes", table.title, "leak", "; ".join(leaks[table.title]), _REMEDY)
        else:
            yield Finding("writes", table.title, "ok")


def _writes(table: Relation) -> Iterator[tuple[str, sql.Composed]]:
    name = sql.Identifier(table.schema, table.name)
    yield "delete", sql.SQL("delete from {} where false returning null::jsonb").format(name)
    for column in table.columns:
        if column.is_generated:
            continue
        field = sql.Identifier(column.name)
        yield (
            f"insert {column.name}",
            sql.SQL("insert into {} ({}) select null where false returning null::jsonb").format(
                name, field
            ),
        )
        yield (
            f"update {column.name}",
            sql.SQL("update {} set {} = null where false returning null::jsonb").format(
                name, field
            ),
        )
