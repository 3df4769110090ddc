"""What embedding so many bytes would cost, by what the project's own documents have had."""

from typing import Final

from docmill.cli.output import Row
from docmill.worker.admin.jobs import tokens_per_byte
from docmill.worker.settings.processes import Settings
from docmill.worker.store.database import Connection
from docmill.worker.store.maintenance import active_index_version

#: Tokens that a byte has before this project's own documents tell: of English text.
TOKENS_PER_BYTE: Final = 0.25


def rough_cost(connection: Connection, settings: Settings, size: int) -> Row:
    """`tokens` and `usd` of so many bytes of files, at the price of the active provider."""
    index = active_index_version(connection)
    price = settings.usd_per_million_tokens(index.provider, index.model) if index else 0
    tokens = round(size * (tokens_per_byte(connection) or TOKENS_PER_BYTE))
    return {"tokens": tokens, "usd": round(tokens * price / 1e6, 4)}
