"""docs/embedded.md lists what the embedded API serves, and how each route was compared."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route

from docmill.embedded.api import ApiSettings
from docmill.embedded.api.app import REST_PREFIX, create_router
from docmill.embedded.api.gateway import Gateway
from docmill.embedded.auth import AuthSettings
from docmill.embedded.keys import ApiKeys
from docmill.embedded.rest import METHODS, RestSettings
from docmill.embedded.rest.query import OPERATORS
from docmill.embedded.storage import StorageSettings

PAGE = (Path(__file__).parents[2] / "docs" / "embedded.md").read_text()
SETTINGS = ApiSettings(
    ApiKeys("a secret of at least thirty-two bytes", "sb_publishable_x", "sb_secret_x"),
    StorageSettings("postgresql://nowhere", Path("/nowhere")),
    RestSettings("postgresql://nowhere"),
    AuthSettings("postgresql://nowhere", "password"),
)


def served(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[str]:
    """Methods and paths; HEAD only if it does not belong to a GET."""
    for route in routes:
        if isinstance(route, Route):
            methods = route.methods or set()
            yield from (f"{method} {prefix}{route.path}" for method in methods - {"HEAD"})
            continue
        assert isinstance(route, Mount)
        app = route.app.app if isinstance(route.app, Gateway) else route.app
        if isinstance(app, Starlette):
            yield from served(app.routes, prefix + route.path)
        elif prefix + route.path == REST_PREFIX:
            for path, allowed in METHODS.items():
                yield from (f"{method} {REST_PREFIX}{path}" for method in allowed)


def rows_of(column: str) -> dict[str, str]:
    """The names in the table with this column, and how each was compared."""
    _, _, rest = PAGE.partition(f"| part | {column} | compared with |\n| --- | --- | --- |\n")
    rows = [line.split("|")[1:-1] for line in rest.split("\n\n")[0].splitlines()]
    return {name: row[2].strip() for row in rows for name in re.findall(r"`([^`]+)`", row[1])}


def test_the_table_of_routes_is_what_is_served() -> None:
    assert set(rows_of("route")) == set(served(create_router(SETTINGS).routes))


def test_the_table_of_operators_is_what_is_understood() -> None:
    assert list(rows_of("operator")) == list(OPERATORS)


@pytest.mark.parametrize("column", ["route", "operator"])
def test_every_row_says_what_it_was_compared_with(column: str) -> None:
    for name, compared in rows_of(column).items():
        own = name.startswith(("GET /console", "GET /status")) or name == "GET /"
        assert bool(compared) != own, name
