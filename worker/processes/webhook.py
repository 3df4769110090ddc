"""`docmill webhook`: the receiver under uvicorn."""

from docmill.worker.app import create_app
from docmill.worker.log import configure_logging
from docmill.worker.processes.connections import (
    build_database,
    build_dispatcher,
    warn_without_redis,
)
from docmill.worker.processes.metrics import served_metrics
from docmill.worker.processes.serving import serve
from docmill.worker.processes.tracing import traced
from docmill.worker.queue import BackgroundDispatcher
from docmill.worker.settings.processes import WebhookSettings
from docmill.worker.store.database import AsyncDatabase, require_database
from docmill.worker.webhook.app import REQUEST_SECONDS, Receiver, create_webhook_app
from docmill.worker.webhook.signatures import Verifier


def run_webhook(settings: WebhookSettings) -> int:
    """Answer events until SIGTERM or SIGINT; returns the exit code."""
    configure_logging(log_format=settings.log_format, level=settings.log_level)
    verifier = Verifier(
        settings.webhook_secret.get_secret_value() if settings.webhook_secret else None,
        [secret.get_secret_value() for secret in settings.webhook_signing_secrets],
    )
    require_database(settings.require("database_url"))
    redis_url = settings.require("redis_url")
    warn_without_redis(redis_url)
    hints_database = build_database(settings)
    hints_database.open()
    dispatcher = BackgroundDispatcher(
        build_dispatcher(settings, create_app(redis_url), hints_database).dispatch
    )
    dispatcher.start()
    database = AsyncDatabase(
        settings.require("database_url"), connections=settings.database_connections
    )
    receiver = Receiver(database, verifier, dispatcher.kick)
    try:
        with served_metrics(settings, receiver.registry), traced("webhook"):
            return serve(
                create_webhook_app(receiver, database),
                host=settings.webhook_host,
                port=settings.webhook_port,
                request_seconds=REQUEST_SECONDS,
            )
    finally:
        dispatcher.close()
        hints_database.close()
