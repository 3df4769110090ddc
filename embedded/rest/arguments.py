"""Arguments of a function: the members of a JSON body, or texts of the query string."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from starlette.requests import Request

from docmill.embedded.rest import errors
from docmill.embedded.rest.asked import Pairs
from docmill.worker.webhook.request_body import read_bounded

#: An embedding of a few thousand numbers is some tens of kilobytes.
MAX_BODY_BYTES: Final = 1024 * 1024


@dataclass(frozen=True)
class JsonArguments:
    """A posted body; its members are named like the parameters."""

    body: str
    names: frozenset[str]


@dataclass(frozen=True)
class TextArguments:
    """Names and values of a query string; a variadic parameter takes all values of its name."""

    pairs: Pairs

    @property
    def names(self) -> frozenset[str]:
        """The parameters that are given."""
        return frozenset(name for name, _value in self.pairs)

    def values(self, name: str) -> Sequence[str]:
        """All values of a parameter; for any but a variadic one the last counts."""
        return [value for one, value in self.pairs if one == name]


Arguments = JsonArguments | TextArguments


async def read_json(request: Request) -> JsonArguments:
    """The arguments of a POST. Raises RestError PGRST102 for a body that is no JSON."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if kind.lower() != "application/json":
        raise errors.invalid_body(f"Content-Type not acceptable: {kind}")
    try:
        body = await read_bounded(
            request, MAX_BODY_BYTES, too_large=errors.body_too_large(MAX_BODY_BYTES)
        )
        text = body.decode() or "{}"
        parsed = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise errors.invalid_body("Empty or invalid json") from None
    if isinstance(parsed, list):
        parsed = _first_of(parsed)
        text = json.dumps(parsed)
    # As PostgREST has it, what is no object is a call without arguments.
    return JsonArguments(text, frozenset(parsed) if isinstance(parsed, dict) else frozenset())


def _first_of(rows: list[Any]) -> Any:
    """Of several objects, which must be alike, the first is passed."""
    if not all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows):
        raise errors.invalid_body("All object keys must match")
    return rows[0] if rows else {}


def _refuse_constant(name: str) -> NoReturn:
    """NaN and Infinity, which Python's reader knows but JSON does not."""
    raise ValueError(name)
