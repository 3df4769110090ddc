"""The settings of the Data API."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class RestSettings:
    """Frozen settings of the Data API, named as PostgREST's. Secrets are left out of its repr."""

    database_url: str = field(repr=False)  #: for the role authenticator
    schemas: tuple[str, ...] = ("public", "ingest")  #: exposed; the first is the default
    extra_search_path: tuple[str, ...] = ("public", "extensions")
    max_rows: int = 1000
    connections: int = 10
