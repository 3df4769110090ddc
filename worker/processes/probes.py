"""Requests of our own that show whether a dependency serves anybody at all."""

from collections.abc import Callable

from docmill.worker.clients.storage import SupabaseStorage
from docmill.worker.store.maintenance import WantedProbe


class DependencyProbe:
    """Tries Storage and the embedding provider the way that runs use them."""

    def __init__(self, storage: SupabaseStorage, provider_serves: Callable[[], bool]) -> None:
        self._storage = storage
        self._provider_serves = provider_serves

    def __call__(self, wanted: WantedProbe) -> bool:
        """Whether the dependency serves now. Never raises."""
        if wanted.dependency == "provider":
            return self._provider_serves()
        assert wanted.bucket_id is not None
        assert wanted.object_name is not None
        return self._storage.serves(wanted.bucket_id, wanted.object_name)
