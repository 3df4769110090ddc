"""What a request asks for: read from its method, path, query string and headers, nothing else."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, Literal
from urllib.parse import quote, unquote_to_bytes

from starlette.datastructures import Headers

from docmill.embedded.rest import errors
from docmill.embedded.rest.grammar import (
    EmbeddingError,
    read_filter,
    read_filter_or_argument,
    read_junction,
    read_order,
    read_select,
)
from docmill.embedded.rest.preferences import Preferences, read_preferences
from docmill.embedded.rest.ranges import Range, asked_range
from docmill.embedded.rest.terms import Selected, Sorted, Term

#: More than any gateway in front of PostgREST lets through.
MAX_QUERY_BYTES: Final = 32 * 1024

_SEPARATORS: Final = re.compile(rb"[&;]")
_READING: Final = ("GET", "HEAD")
_NO_FILTERS: Final = ("select", "columns", "on_conflict")

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Target:
    """The table or function that a path names."""

    schema: str
    name: str
    kind: Literal["table", "function"]


@dataclass(frozen=True)
class Query:
    """What the query string says of the result."""

    columns: tuple[Selected, ...]
    filters: tuple[Term, ...]
    order: tuple[Sorted, ...]
    limit: str | None
    offset: str | None
    arguments: Pairs  #: of a function that is called with GET or HEAD
    canonical: str  #: the query string once more, sorted


@dataclass(frozen=True)
class Asked:
    """A request, understood as far as it can be without the database."""

    method: str
    path: str
    target: Target
    query: Query
    range: Range
    preferences: Preferences

    @property
    def reads(self) -> bool:
        """Whether the method promises to change nothing."""
        return self.method in _READING


def read_request(
    method: str, path: str, query_string: bytes, headers: Headers, schemas: Sequence[str]
) -> Asked:
    """Understand a request. `path` follows /rest/v1, undecoded. Raises RestError."""
    target = _target(method, path, headers, schemas)
    query = _query(method, target, _pairs(query_string))
    header = headers.get("range") if method == "GET" else None
    return Asked(
        method,
        path,
        target,
        query,
        asked_range(query.limit, query.offset, header),
        read_preferences(headers.getlist("prefer")),
    )


def _target(method: str, path: str, headers: Headers, schemas: Sequence[str]) -> Target:
    segments = [_decode(part.encode("latin-1")) for part in path.split("/")[1:]]
    is_function = len(segments) == 2 and segments[0] == "rpc"
    if segments in ([], [""]):
        raise errors.no_root()
    if len(segments) != 1 and not is_function:
        raise errors.invalid_path()
    schema = _schema(method, headers, schemas)
    if is_function and method not in {*_READING, "POST"}:
        raise errors.wrong_rpc_method(method)
    if not is_function and method not in _READING:
        raise errors.unsupported_method(method)
    return Target(schema, segments[-1], "function" if is_function else "table")


def _schema(method: str, headers: Headers, schemas: Sequence[str]) -> str:
    header = "content-profile" if method in {"POST", "PATCH", "PUT", "DELETE"} else "accept-profile"
    schema = headers.get(header, schemas[0])
    if schema not in schemas:
        raise errors.invalid_schema(schema, schemas)
    return schema


def _pairs(query_string: bytes) -> Pairs:
    """Names and values; a name without `=` is as if it were not there."""
    if len(query_string) > MAX_QUERY_BYTES:
        raise errors.query_too_long(MAX_QUERY_BYTES)
    parts = [part.partition(b"=") for part in _SEPARATORS.split(query_string)]
    return [
        (_decode(name.replace(b"+", b" ")), _decode(value.replace(b"+", b" ")))
        for name, equals, value in parts
        if equals
    ]


def _decode(encoded: bytes) -> str:
    try:
        text = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise errors.invalid_text() from None
    if "\0" in text:
        raise errors.invalid_text()
    return text


def _query(method: str, target: Target, pairs: Pairs) -> Query:
    # First, because what concerns an embedded table is best explained by its embedding.
    columns = _columns(target, pairs)
    filters: list[Term] = []
    arguments: list[tuple[str, str]] = []
    orders: list[tuple[Sorted, ...]] = []
    takes_arguments = target.kind == "function" and method in _READING
    for name, value in pairs:
        last = name.rpartition(".")[2]
        if last == "order":
            orders.append(read_order(name, value))
        elif last in {"limit", "offset"}:
            if last != name:
                raise errors.not_embedded(name.partition(".")[0])
        elif last in {"and", "or"}:
            filters.append(read_junction(name, value))
        elif name in _NO_FILTERS:
            continue
        elif not takes_arguments:
            filters.append(read_filter(name, value))
        elif condition := read_filter_or_argument(name, value):
            filters.append(condition)
        else:
            arguments.append((name, value))
    last_values = dict(pairs)
    ordered = sorted(pairs, key=itemgetter(0))
    return Query(
        columns,
        tuple(filters),
        orders[0] if orders else (),
        last_values.get("limit"),
        last_values.get("offset"),
        arguments,
        "&".join(f"{quote(name, '')}={quote(value, '')}" for name, value in ordered),
    )


def _columns(target: Target, pairs: Pairs) -> tuple[Selected, ...]:
    select = next((value for name, value in pairs if name == "select"), "*")
    try:
        return read_select(select)
    except EmbeddingError as error:
        raise errors.no_relationship(target.schema, target.name, error.name) from None
