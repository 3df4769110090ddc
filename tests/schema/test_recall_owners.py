"""Collections that mislead an index, beside few and many other owners: nothing is lost.

`make bench-recall` does the same with more chunks.
"""

from collections.abc import Iterator

import numpy as np
import pytest

from docmill.embedded.postgres import PostgresServer
from tests.benchmarks.recall import KINDS, fill, recalls, widths_of
from tests.support.database import Database, make_database, watch_bucket

#: With sketches of the vectors themselves, and of their signs.
WIDTHS = (64, 768)
SIZES = (10, 100, 2000)


@pytest.fixture(scope="module")
def project(postgres: PostgresServer) -> Iterator[Database]:
    with make_database(postgres) as database:
        watch_bucket(database)
        yield database


@pytest.mark.parametrize("owners", [20, 3000])
@pytest.mark.parametrize(
    ("kind", "width"), [(kind, width) for kind in KINDS for width in widths_of(kind, WIDTHS)]
)
def test_the_nearest_are_found(project: Database, kind: str, width: int, owners: int):
    with project.connect() as admin:
        model, callers = fill(admin, kind, width, SIZES, owners)
    for caller in callers:
        found = list(recalls(project, model, caller))
        assert np.mean(found) >= 0.98, (caller.owner, found)
