"""Objects that several kinds of process are built from.

With `reading` and `runtime`, all that builds objects.
"""

import threading
from datetime import timedelta

import redis
from celery import Celery

from docmill.worker.log import get_logger, redact
from docmill.worker.ports import Embedder
from docmill.worker.queue import Dispatcher
from docmill.worker.settings.parts import DatabaseSettings, EmbedderSettings, HintSettings
from docmill.worker.store.database import Database

log = get_logger(__name__)


def build_embedder(settings: EmbedderSettings) -> Embedder:
    """The embedder that the settings name. Raises SettingsError when it cannot be built."""
    # Only the one in use is imported: openai alone takes longer than everything else together.
    if settings.embedder == "local":
        from docmill.worker.embedding.local import LocalEmbedder

        return LocalEmbedder()
    from docmill.worker.clients.openai_embedder import OpenAIEmbedder

    return OpenAIEmbedder(
        api_key=settings.require("openai_api_key"),
        base_url=settings.openai_base_url,
        model=settings.model,
        dimensions=settings.dimensions,
        # Other models refuse the parameter.
        send_dimensions=settings.model.startswith("text-embedding-3"),
        timeout_seconds=settings.embedding_timeout_seconds,
    )


def warn_without_redis(url: str) -> None:
    """Say once, at the start of a process, that Redis does not answer. Returns at once."""
    threading.Thread(target=_warn_without_redis, args=(url,), daemon=True).start()


def _warn_without_redis(url: str) -> None:
    client = redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5)
    try:
        client.ping()
    except redis.RedisError as error:
        log.warning(
            "redis_unreachable",
            redis_url=redact(url),
            error=type(error).__name__,
            remedy="start Redis or correct REDIS_URL; it is tried again until it answers",
        )
    finally:
        client.close()


def build_database(settings: DatabaseSettings) -> Database:
    """The pool of the role docmill_worker."""
    return Database(settings.require("database_url"), connections=settings.database_connections)


def build_dispatcher(settings: HintSettings, app: Celery, database: Database) -> Dispatcher:
    """The dispatcher of these settings."""
    return Dispatcher(app, database, resend_after=timedelta(seconds=settings.resend_seconds))
