"""The HTTP side: bounded in size and time; it says little about why it refuses."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import UUID

import psycopg
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from psycopg_pool import PoolTimeout
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from docmill.worker import tracing
from docmill.worker.log import get_logger
from docmill.worker.store.database import AsyncDatabase
from docmill.worker.store.hints import ObjectHint
from docmill.worker.store.outage import warn
from docmill.worker.webhook.events import BadEventError, parse_event
from docmill.worker.webhook.request_body import read_bounded
from docmill.worker.webhook.signatures import Verifier

log = get_logger(__name__)

#: A row of storage.objects has a few hundred bytes; user_metadata makes it larger.
MAX_BODY_BYTES: Final = 64 * 1024
#: pg_net gives up after five seconds at most, so no honest sender takes longer.
BODY_SECONDS: Final = 10.0
#: The connection is closed if a whole request, with its trailers, has not arrived by then. The
#: answer, 408, has been sent before.
REQUEST_SECONDS: Final = 12.0
READY_SECONDS: Final = 2.0
PATH: Final = "/webhooks/storage"
#: What a trace says of each request.
_REQUEST: Final[tracing.Attributes] = {
    "http.request.method": "POST",
    "http.route": PATH,
    "url.path": PATH,
    "url.scheme": "http",
}
#: How often the receiver notes in the database that it is running.
TICK_SECONDS: Final = 5.0


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        # The unread rest of a body must not be taken for the next request.
        self.headers = {"connection": "close"} if status in (400, 408, 413) else None


class Receiver:
    """Answers events. `on_synced` is called after each commit and must not block."""

    def __init__(
        self, database: AsyncDatabase, verifier: Verifier, on_synced: Callable[[], None]
    ) -> None:
        self._database = database
        self._verifier = verifier
        self._on_synced = on_synced
        #: This process's own metrics, for /metrics.
        self.registry = CollectorRegistry()
        self._answered = Counter(
            "docmill_webhook_requests", "Events by status.", ["status"], registry=self.registry
        )
        self._seconds = Histogram(
            "docmill_webhook_seconds", "Time to answer an event.", registry=self.registry
        )

    async def receive(self, request: Request) -> Response:
        """POST /webhooks/storage. Answers 202 with the job's id, or null if there is no job."""
        started = time.perf_counter()
        began_ns = time.time_ns()
        try:
            hint = await self._verified_hint(request)
            job_id = await self._traced_sync(hint, request, began_ns)
            response = JSONResponse({"job_id": str(job_id) if job_id else None}, status_code=202)
        except _RefusedError as refused:
            response = JSONResponse(
                {"error": str(refused)}, status_code=refused.status, headers=refused.headers
            )
        self._answered.labels(response.status_code).inc()
        self._seconds.observe(time.perf_counter() - started)
        return response

    async def _verified_hint(self, request: Request) -> ObjectHint:
        body = await _bounded_body(request)
        if not self._verifier.accepts(request.headers, body):
            raise _RefusedError(401, "the secret or signature is missing or wrong")
        try:
            return parse_event(body)
        except BadEventError as error:
            raise _RefusedError(400, str(error)) from None

    async def _traced_sync(self, hint: ObjectHint, request: Request, began_ns: int) -> UUID | None:
        if not tracing.is_on():
            return await self._sync(hint)
        # Only here: a request that is not verified begins no trace and continues none.
        span = tracing.start(
            f"POST {PATH}",
            kind="server",
            parent=_sent_trace(request),
            attributes=_REQUEST,
            began_ns=began_ns,
        )
        with tracing.within(span):
            try:
                job_id = await self._sync(hint)
            except _RefusedError as refused:
                span.set({"http.response.status_code": refused.status})
                span.end(str(refused.status))
                raise
            span.set({"http.response.status_code": 202})
            return job_id

    async def _sync(self, hint: ObjectHint) -> UUID | None:
        try:
            job_id = await self._database.sync_object(hint)
        except (psycopg.Error, PoolTimeout) as error:
            # The trigger has recorded the change already; the schedule will act on it.
            warn(log, "event_not_synced", error)
            raise _RefusedError(503, "the database does not answer") from None
        if job_id is not None and tracing.is_on():
            await self._trace(job_id)
        self._on_synced()
        return job_id

    async def _trace(self, job_id: UUID) -> None:
        """Have the runs of a job continue the trace of this request."""
        span = tracing.start(
            tracing.CREATE,
            kind="producer",
            parent=tracing.current(),
            attributes=tracing.of_job("create", job_id),
        )
        # Without this the job runs all the same, in a trace of its own.
        with tracing.within(span), suppress(psycopg.Error, PoolTimeout):
            kept = await self._database.trace_job(job_id, span.traceparent)
            if kept is not None and kept != span.traceparent:
                # The event came twice, or a worker was faster.
                span.link(kept)

    async def ready(self, _request: Request) -> Response:
        """GET /readyz: 200 when the database answers."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._database.ping()
        except (psycopg.Error, PoolTimeout, TimeoutError):
            return JSONResponse({"error": "the database does not answer"}, status_code=503)
        return JSONResponse({"status": "ready"})

    async def metrics(self, _request: Request) -> Response:
        """GET /metrics in Prometheus' text format."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


def _sent_trace(request: Request) -> str | None:
    """The trace that the sender names, in the one header that it may have."""
    headers = request.headers.getlist("traceparent")
    return tracing.parsed(headers[0]) if len(headers) == 1 else None


async def healthy(_request: Request) -> Response:
    """GET /healthz: the process answers."""
    return PlainTextResponse("ok")


async def _bounded_body(request: Request) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise _too_large()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await read_bounded(request, MAX_BODY_BYTES, too_large=_too_large())
    except TimeoutError:
        raise _RefusedError(408, "the body did not arrive in time") from None
    except ClientDisconnect:
        raise _RefusedError(400, "the body did not arrive") from None


def _too_large() -> _RefusedError:
    return _RefusedError(413, f"the body is over {MAX_BODY_BYTES} bytes")


async def _tick(database: AsyncDatabase) -> None:
    # Without this note nobody would see that the receiver has died, because the schedule does its
    # work.
    while True:
        with suppress(psycopg.Error, PoolTimeout):
            await database.note_tick()
        await asyncio.sleep(TICK_SECONDS)


def create_webhook_app(receiver: Receiver, database: AsyncDatabase) -> Starlette:
    """The ASGI app around a receiver; opens and closes the database with it."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await database.open()
        ticking = asyncio.create_task(_tick(database))
        try:
            yield
        finally:
            ticking.cancel()
            with suppress(psycopg.Error, PoolTimeout, TimeoutError):
                async with asyncio.timeout(READY_SECONDS):
                    await database.forget_tick()
            await database.close()

    return Starlette(
        routes=[
            Route(PATH, receiver.receive, methods=["POST"]),
            Route("/healthz", healthy),
            Route("/readyz", receiver.ready),
            Route("/metrics", receiver.metrics),
        ],
        lifespan=lifespan,
    )
