"""Requests of our own that show whether a dependency serves anybody at all."""

from docmill.worker.clients.storage import SupabaseStorage
from docmill.worker.errors import JobError
from docmill.worker.ports import Embedder
from docmill.worker.store.maintenance import WantedProbe


class DependencyProbe:
    """Tries Storage and the embedding provider the way that runs use them."""

    def __init__(self, storage: SupabaseStorage, embedder: Embedder) -> None:
        self._storage = storage
        self._embedder = embedder

    def __call__(self, wanted: WantedProbe) -> bool:
        """Whether the dependency serves now. Never raises."""
        if wanted.dependency == "provider":
            return self._provider_serves()
        assert wanted.bucket_id is not None
        assert wanted.object_name is not None
        return self._storage.serves(wanted.bucket_id, wanted.object_name)

    def _provider_serves(self) -> bool:
        try:
            self._embedder.embed(["docmill"])
        except JobError:
            return False
        return True
