"""Calls of the project's Data API as the caller, and embeddings of queries."""

from collections.abc import Mapping
from typing import Any, Final

import httpx
from anyio import to_thread

from docmill.embedded.functions.incoming import RefusedError
from docmill.worker.embedding.local import MODEL
from docmill.worker.errors import JobError, SettingsError
from docmill.worker.log import get_logger
from docmill.worker.models import IndexVersion
from docmill.worker.ports import Embedder, Vector
from docmill.worker.processes.connections import build_embedder
from docmill.worker.providers.base import Kind
from docmill.worker.settings.parts import EmbedderSettings

log = get_logger(__name__)

_SECONDS: Final = 15.0


class CallersProject:
    """The Data API as one caller sees it."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url
        self._headers = {
            "content-profile": "ingest",
            **{name: headers[name] for name in ("apikey", "authorization") if name in headers},
        }

    async def call(self, name: str, parameters: Mapping[str, Any]) -> httpx.Response:
        """Call a function of `ingest`. Raises RefusedError if there is no answer."""
        try:
            async with httpx.AsyncClient(headers=self._headers, timeout=_SECONDS) as http:
                return await http.post(f"{self._url}/rest/v1/rpc/{name}", json=parameters)
        except httpx.HTTPError:
            message = "the Data API did not answer"
            raise RefusedError(503, message, "data_api_unavailable") from None

    async def index(self) -> IndexVersion:
        """The index version that answers searches now. Raises RefusedError."""
        said = await self.call("active_index", {})
        if not said.is_success:
            message = "the Data API does not serve docmill's schema ingest"
            raise RefusedError(503, message, "data_api_unavailable")
        if not said.json():
            message = "there is no active index: run docmill schema apply"
            raise RefusedError(503, message, "no_index")
        return IndexVersion(**said.json()[0], chunking={})

    async def record_query(self, index: IndexVersion, tokens: int) -> None:
        """Book the tokens of a query on the caller; if that fails, the search goes on."""
        parameters = {"index_version": index.id, "tokens": tokens}
        try:
            said = await self.call("record_query", parameters)
        except RefusedError:
            return
        if not said.is_success:
            log.warning("query_not_recorded", status=said.status_code)


class QueryEmbedder:
    """Embeds queries for an index version, with the provider that it names."""

    def __init__(self, settings: EmbedderSettings) -> None:
        self._settings = settings
        self._embedders: dict[tuple[Any, ...], Embedder] = {}

    def load(self) -> None:
        """Read the local model, which takes a while."""
        self._embedder(IndexVersion(0, MODEL, 256, {}, "local", False, "", ""))

    async def embed(self, query: str, index: IndexVersion, project: CallersProject) -> Vector:
        """Embed a query and book what it cost on the caller. Raises RefusedError."""
        try:
            embedder = self._embedder(index)
            texts = [index.query_prefix + query]
            vectors, tokens = await to_thread.run_sync(embedder.embed, texts)
        except SettingsError as error:
            raise RefusedError(503, str(error), "not_configured") from None
        except JobError as error:
            raise _refusal(error) from None
        await project.record_query(index, tokens)
        vector: Vector = vectors[0]
        return vector

    def _embedder(self, index: IndexVersion) -> Embedder:
        how = (index.provider, index.model, index.dimensions, index.sends_dimensions)
        if how not in self._embedders:
            self._embedders[how] = build_embedder(self._settings, index, kind=Kind.QUERY)
        return self._embedders[how]


def _refusal(error: JobError) -> RefusedError:
    if error.code == "rate_limited":
        message = "the provider takes no more queries for now: try again later"
        return RefusedError(429, message, "embedding_busy")
    return RefusedError(502, "the provider did not embed the query", "embedding_failed")
