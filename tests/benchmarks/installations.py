"""Fresh installations for benchmarks, removed afterwards."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from docmill.embedded.postgres import start_postgres
from docmill.embedded.redis import start_redis
from tests.support.database import Database, make_database, make_template
from tests.support.installation import Installation, apply_current_schema, install


@contextmanager
def fresh_installation(
    apply: Callable[[Database], None] = apply_current_schema,
) -> Iterator[Installation]:
    """An installation with its own PostgreSQL and Redis, without running processes."""
    with tempfile.TemporaryDirectory(prefix="docmill-bench-") as name:
        folder = Path(name)
        postgres = start_postgres(folder / "postgres")
        redis = start_redis(folder / "redis")
        try:
            make_template(postgres)
            with (
                make_database(postgres, "project") as database,
                install(database, redis, folder, apply) as running,
            ):
                yield running
        finally:
            redis.stop()
            postgres.stop()
