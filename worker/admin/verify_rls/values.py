"""Values for columns and arguments, made from their type and name."""

import random
import re
from collections.abc import Sequence
from typing import Final

from docmill.worker.admin.verify_rls.catalog import Column, Constraint, IndexVersion, Relation
from docmill.worker.admin.verify_rls.tenants import Item

#: A value as SQL text; None is null. DEFAULT: the column's own default.
Value = str | None
DEFAULT: Final = "\0default"

_OWNERS: Final = ("owner_id", "owner", "sub", "user_id", "fairness_key")
_NUMBERS: Final = ("smallint", "integer", "bigint", "numeric", "real", "double precision")
_PLAIN: Final = {
    "boolean": "false",
    "date": "today",
    "timestamp with time zone": "now",
    "timestamp without time zone": "now",
    "time without time zone": "00:00",
    "interval": "1 second",
    "inet": "127.0.0.1",
    "regconfig": "simple",
    "json": "{}",
}


def type_name(type_: str) -> str:
    """A type's name without its schema."""
    return type_.rsplit(".", 1)[-1].strip('"')


def candidates(
    column: Column, relation: Relation, item: Item, version: IndexVersion
) -> list[Value]:
    """Values to try for a column, best first; empty if none is known."""
    known = _by_name(column, relation, item, version)
    if known is not None:
        return known
    checks = [c for c in relation.constraints if c.type == "c" and column.name in c.columns]
    made = made_for(column, item, version)
    harmless: list[Value] = [DEFAULT] if column.has_default else []
    if not column.is_required:
        harmless.append(None)
    telling = (made is not None and item.marker in made) or is_telling(column.type)
    if telling and not checks:
        return [made, *harmless]
    return [*harmless, *_literals(checks), *([made] if made is not None else [])]


def is_telling(type_: str) -> bool:
    """Whether a value of this type can identify its owner: not a number, a time or a boolean."""
    return type_name(type_).removesuffix("[]") in (
        *("uuid", "bytea", "vector", "halfvec", "sparsevec", "bit", "tsvector"),
    )


def _by_name(
    column: Column, relation: Relation, item: Item, version: IndexVersion
) -> list[Value] | None:
    if column.name in _OWNERS:
        return [item.owner]
    if column.type == "uuid":
        # Nothing where it would have to point to a row that is not there.
        nothing: list[Value] = [] if column.is_required else [None]
        return [item.id(column.name, relation.name), *nothing]
    known: dict[str, Value] = {
        "access": item.access,
        "index_version": str(version.id),
        "object_name": item.name,
        "hides": "true" if item.kind == "hidden" else "false",
        "searchable": "true",
    }
    return [known[column.name]] if column.name in known else None


def made_for(column: Column, item: Item, version: IndexVersion) -> Value:
    """A value that identifies its item, if the type can hold one. None: the type is unknown."""
    kind = type_name(column.type)
    if kind.endswith("[]"):
        inner = Column(**{**vars(column), "type": column.type.removesuffix("[]")})
        element = made_for(inner, item, version)
        return None if element is None else '{"' + element.replace("\\", "\\\\") + '"}'
    if column.label is not None:
        return column.label
    if kind in _NUMBERS:
        return _number(kind, is_unique=column.is_unique)
    if kind in ("vector", "halfvec", "bit", "bit varying"):
        dimensions = column.modifier if column.modifier > 0 else version.dimensions
        return _bits(item, dimensions) if kind.startswith("bit") else item.vector(dimensions)
    text = f"{item.marker} {column.name}"
    return {
        "text": text,
        "character varying": text,
        "name": item.marker,
        "tsvector": f"'{item.marker}':1",
        "tsquery": f"'{item.marker}'",
        "jsonb": f'{{"canary": "{item.marker}"}}',
        "uuid": item.id(column.name),
        "bytea": item.hash(column.name),
        **_PLAIN,
    }.get(kind)


def _bits(item: Item, dimensions: int) -> str:
    bits = "".join("01"[number[0] != "-"] for number in item.vector(dimensions)[1:-1].split(","))
    item.more.add(bits)
    return bits


def _number(kind: str, *, is_unique: bool) -> str:
    # Far from the next values of sequences, so that no other transaction must wait for this one.
    top = {"smallint": 2**15, "integer": 2**31}.get(kind, 2**53)
    return str(random.randrange(top // 2, top)) if is_unique else "1"  # noqa: S311 - no secret


def _literals(checks: Sequence[Constraint]) -> list[Value]:
    """Values that checks name, in reverse order, because the first are often the least strict."""
    found = [text for check in checks for text in re.findall(r"'((?:[^']|'')*)'", check.definition)]
    return list(dict.fromkeys(reversed(found)))
