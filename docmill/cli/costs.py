"""What embedding would cost, at the price of the active index version."""

from typing import Final

from docmill.cli.output import Row
from docmill.worker.admin.jobs import tokens_per_byte
from docmill.worker.settings.processes import Settings
from docmill.worker.store.database import Connection
from docmill.worker.store.maintenance import active_index_version

#: Tokens per byte of English text, used until this project's own documents show a rate.
TOKENS_PER_BYTE: Final = 0.25


def active_price(connection: Connection, settings: Settings) -> float:
    """Dollars per million tokens; 0 before there is an index version."""
    index = active_index_version(connection)
    return settings.usd_per_million_tokens(index.provider, index.model) if index else 0


def rough_cost(connection: Connection, settings: Settings, size: int) -> Row:
    """`tokens` and `usd` for this many bytes of files."""
    tokens = round(size * (tokens_per_byte(connection) or TOKENS_PER_BYTE))
    return {"tokens": tokens, "usd": round(tokens * active_price(connection, settings) / 1e6, 4)}
