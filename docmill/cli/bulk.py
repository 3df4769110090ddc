"""The bulk lane on the command line: who has it, and what it costs."""

from docmill.cli.error_texts import error_texts
from docmill.worker.errors import RefusedError
from docmill.worker.settings.processes import Settings
from docmill.worker.store.database import Connection
from docmill.worker.store.maintenance import active_index_version


def price_in(settings: Settings, provider: str, model: str, *, is_bulk: bool) -> float:
    """Dollars for a million tokens. Raises RefusedError where the provider has no batches."""
    if not is_bulk:
        return settings.usd_per_million_tokens(provider, model)
    price = settings.bulk_usd_per_million_tokens(provider, model)
    if price is None:
        said = error_texts()["bulk_unsupported"]
        raise RefusedError(f"{said.code}: provider {provider}: {said.message} {said.remedy}")
    return price


def require_active_bulk(connection: Connection, settings: Settings) -> None:
    """Uploads can be bought in bulk now. Raises RefusedError where they cannot."""
    index = active_index_version(connection)
    if index is not None:
        price_in(settings, index.provider, index.model, is_bulk=True)
