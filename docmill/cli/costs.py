"""What embedding would cost, at the price of the active index version."""

from decimal import Decimal
from math import ceil
from typing import Final

from docmill.cli.bulk import price_in
from docmill.cli.output import Row
from docmill.worker.admin import spending
from docmill.worker.admin.jobs import tokens_per_byte, tokens_per_chunk
from docmill.worker.models import IndexVersion
from docmill.worker.settings.parts import EmbedderSettings
from docmill.worker.settings.processes import Settings
from docmill.worker.store.database import Connection
from docmill.worker.store.maintenance import active_index_version

#: Tokens per byte of English text, used until this project's own documents show a rate.
TOKENS_PER_BYTE: Final = 0.25
#: As many as a chunk may have by default, used for as long.
TOKENS_PER_CHUNK: Final = 400


def active_price(connection: Connection, settings: Settings, *, is_bulk: bool = False) -> float:
    """Dollars for a million tokens; 0 before there is an index version."""
    index = active_index_version(connection)
    return price_in(settings, index.provider, index.model, is_bulk=is_bulk) if index else 0


def rough_cost(
    connection: Connection, settings: Settings, size: int, *, is_bulk: bool = False
) -> Row:
    """`chunks`, `tokens` and `usd` of so many bytes of files."""
    tokens = round(size * (tokens_per_byte(connection) or TOKENS_PER_BYTE))
    price = active_price(connection, settings, is_bulk=is_bulk)
    a_chunk = tokens_per_chunk(connection) or TOKENS_PER_CHUNK
    return {
        "chunks": ceil(tokens / a_chunk),
        "tokens": tokens,
        "usd": round(tokens * price / 1e6, 4),
    }


def book_queries(
    connection: Connection,
    settings: EmbedderSettings,
    index: IndexVersion,
    tokens: int,
    *,
    owner: str | None,
) -> None:
    """Book tokens of embedded queries, at the price of these settings; None: on nobody."""
    price = Decimal(str(settings.usd_per_million_tokens(index.provider, index.model)))
    spending.book_queries(
        connection, owner=owner, model=index.model, tokens=tokens, usd=price * tokens / 1_000_000
    )
