"""The routes of Storage, under /storage/v1."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from docmill.embedded.keys import ApiKeys
from docmill.embedded.part import Part, make_app
from docmill.embedded.storage import buckets, errors, listing, objects, reading, upload
from docmill.embedded.storage.auth import Authenticator
from docmill.embedded.storage.bytes_store import ByteStore
from docmill.embedded.storage.database import StorageDatabase
from docmill.embedded.storage.poster import Poster
from docmill.embedded.storage.service import Handler, StorageService
from docmill.embedded.storage.settings import StorageSettings

#: The first match counts, so fixed words come before `{bucket}`.
_ROUTES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("POST", "/bucket", buckets.create_bucket),
    ("GET", "/bucket", buckets.list_buckets),
    ("DELETE", "/bucket/{bucket}", buckets.delete_bucket),
    ("POST", "/object/move", objects.move),
    ("POST", "/object/copy", objects.copy),
    ("POST", "/object/list/{bucket}", listing.list_objects),
    ("POST", "/object/sign/{bucket}/{name:path}", reading.sign),
    ("GET", "/object/sign/{bucket}/{name:path}", reading.download_signed),
    ("GET", "/object/authenticated/{bucket}/{name:path}", reading.download_authenticated),
    ("GET", "/object/info/authenticated/{bucket}/{name:path}", reading.info_authenticated),
    ("GET", "/object/info/{bucket}/{name:path}", reading.info),
    ("DELETE", "/object/{bucket}", objects.remove),
    ("POST", "/object/{bucket}/{name:path}", upload.upload),
    ("GET", "/object/{bucket}/{name:path}", reading.download),
)


def create_storage(settings: StorageSettings, keys: ApiKeys) -> Part:
    """Make Storage; it connects when it starts to run."""
    poster = Poster()
    service = StorageService(
        settings,
        StorageDatabase(
            settings.database_url, connections=settings.connections, on_commit=poster.wake
        ),
        ByteStore(settings.data_dir),
        Authenticator(keys),
    )
    routes = [(method, path, partial(handler, service)) for method, path, handler in _ROUTES]
    app = make_app(routes, errors.answer, errors.route_not_found)
    return Part(app, partial(_running, service, poster))


@asynccontextmanager
async def _running(service: StorageService, poster: Poster) -> AsyncIterator[None]:
    service.store.prepare()
    async with service.database.running():
        task = None
        if service.settings.deliver_webhooks:
            task = asyncio.create_task(poster.run(service.database))
        try:
            yield
        finally:
            poster.stop()
            if task is not None:
                await task
