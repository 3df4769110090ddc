"""Downloads from Supabase Storage, streamed: its Python client reads whole files into memory."""

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import wait
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, TypeVar
from urllib.parse import quote

import httpx

from docmill.worker.clients.decoded import async_pieces
from docmill.worker.clients.event_loop import event_loop
from docmill.worker.errors import NO_SPACE, JobError
from docmill.worker.ports import StopCheck, StoredObject

#: Longest silence of the server, while connecting or reading.
TIMEOUT: Final = httpx.Timeout(30, connect=10)
#: An answer has this time, and a file this much more for each byte of it that has arrived: a slow
#: but steady transfer continues, and one that drips ends.
ANSWER_SECONDS: Final = 60.0
LEAST_BYTES_A_SECOND: Final = 8192
#: How often to check whether the run must stop while waiting for Storage.
POLL_SECONDS: Final = 0.25
#: The longest answer that is no file.
_MOST_BYTES: Final = 1024 * 1024
T = TypeVar("T")


@dataclass(frozen=True)
class _Answer:
    """An answer that is no file."""

    status: int
    content: bytes

    def json(self) -> Any:
        """Its JSON; None where it is none."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None


class SupabaseStorage:
    """Reads objects with the project's secret key. Safe to share between threads.

    Requests run in an event loop on a thread of its own: one that takes too long, or that nobody
    waits for any more, is ended, whatever the server sends.
    """

    def __init__(self, supabase_url: str, secret_key: str, *, connections: int = 32) -> None:
        self._loop = event_loop("storage")
        self._url = f"{supabase_url.rstrip('/')}/storage/v1"
        # A secret key may be in Authorization because it equals apikey; the old service_role
        # tokens must be there.
        self._headers = {
            "apikey": secret_key,
            "Authorization": f"Bearer {secret_key}",
            # Most files are already compressed; a proxy would compress them again.
            "Accept-Encoding": "identity",
        }
        self._tls = httpx.create_ssl_context()
        # A client for each connection, as httpx looks at all connections of a client, for each of
        # them again, before and after each request. Only the loop's thread uses the list.
        self._idle: list[httpx.AsyncClient] = []
        self._gate = threading.BoundedSemaphore(connections)

    def close(self) -> None:
        """Close all connections. Nobody may ask for anything any more."""
        asyncio.run_coroutine_threadsafe(self._close_idle(), self._loop).result()

    async def _close_idle(self) -> None:
        while self._idle:
            await self._idle.pop().aclose()

    @asynccontextmanager
    async def _get(self, path: str) -> AsyncIterator[httpx.Response]:
        """The answer to a GET, while it arrives; on the connection that was used last."""
        client = self._idle.pop() if self._idle else self._new_client()
        try:
            async with client.stream("GET", path) as response:
                yield response
        finally:
            self._idle.append(client)

    def _new_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._url,
            headers=self._headers,
            timeout=TIMEOUT,
            limits=httpx.Limits(max_connections=1),
            verify=self._tls,
        )

    def info(self, bucket_id: str, object_name: str, *, check: StopCheck) -> StoredObject | None:
        """The object that Storage now has under this name; None if there is none. Raises JobError.

        `check` is called during the wait.
        """
        path = object_path(bucket_id, object_name)
        self._wait_for_turn(check)
        return self._attended(self._info(path), check)

    async def _info(self, path: str) -> StoredObject | None:
        with _errors_translated():
            # The public route would treat a wrong key as no user, for whom every object is missing.
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                self._get(f"/object/info/authenticated/{path}") as response,
            ):
                answer = await _read(response)
        if _is_missing(answer):
            return None
        _check_status(answer)
        return _stored_object(answer)

    def download(
        self, bucket_id: str, object_name: str, target: Path, *, max_bytes: int, check: StopCheck
    ) -> bytes:
        """Stream the object into a file and return its sha256.

        `check` is called meanwhile. Raises JobError: `document_too_large` beyond `max_bytes`,
        `object_changed` if the object is gone or incomplete.
        """
        path = object_path(bucket_id, object_name)
        # The request owns its own descriptor. If the run stops, the request may continue for a
        # moment after the target is closed, when the target's name can already belong to another
        # document's file.
        with _errors_translated():
            file = target.open("wb")
        try:
            self._wait_for_turn(check)
        except BaseException:
            file.close()
            raise
        return self._attended(self._download(path, file, max_bytes), check)

    async def _download(self, path: str, file: IO[bytes], max_bytes: int) -> bytes:
        digest = hashlib.sha256()
        began = self._loop.time()
        with _errors_translated(), file:
            async with (
                asyncio.timeout(ANSWER_SECONDS) as deadline,
                self._get(f"/object/authenticated/{path}") as response,
            ):
                if response.status_code != httpx.codes.OK:
                    answer = await _read(response)
                    if _is_missing(answer):
                        raise JobError("object_changed", "the object is gone")
                    _check_status(answer)
                async for block in _limited(response, max_bytes):
                    earned = response.num_bytes_downloaded / LEAST_BYTES_A_SECOND
                    deadline.reschedule(began + ANSWER_SECONDS + earned)
                    digest.update(block)
                    file.write(block)
        return digest.digest()

    def serves(self, bucket_id: str, object_name: str) -> bool:
        """Whether the first bytes of an object can be downloaded now."""
        serving = self._serves(object_path(bucket_id, object_name))
        return asyncio.run_coroutine_threadsafe(serving, self._loop).result()

    async def _serves(self, path: str) -> bool:
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                self._get(f"/object/authenticated/{path}") as response,
            ):
                await anext(async_pieces(response), b"")
                return response.status_code == httpx.codes.OK
        except (httpx.HTTPError, TimeoutError):
            return False

    def _wait_for_turn(self, check: StopCheck) -> None:
        while not self._gate.acquire(timeout=POLL_SECONDS):
            check()

    def _attended(self, request: Coroutine[Any, Any, T], check: StopCheck) -> T:
        """Make a request, and end it if the run must stop. The caller has waited for its turn."""
        future = asyncio.run_coroutine_threadsafe(request, self._loop)
        future.add_done_callback(lambda _: self._gate.release())
        try:
            while not wait([future], POLL_SECONDS).done:
                check()
        except BaseException:
            future.cancel()
            raise
        return future.result()


def object_path(bucket_id: str, object_name: str) -> str:
    """The path of an object in a URL; every segment is percent-encoded here.

    Raises JobError, `unsupported_name`, if no URL can name it.
    """
    segments = object_name.split("/")
    if "." in segments or ".." in segments:
        # URL parsers may resolve these segments, and would then fetch another object.
        raise JobError("unsupported_name", "a dot segment")
    if not segments[-1]:
        # Clients and proxies drop the last slash, and would then fetch another object.
        raise JobError("unsupported_name", "ends in a slash")
    return "/".join(quote(segment, safe="") for segment in [bucket_id, *segments])


async def _limited(response: httpx.Response, max_bytes: int) -> AsyncIterator[bytes]:
    received = 0
    # Read data as it arrives: filling a block could take for ever.
    async for block in async_pieces(response):
        received += len(block)
        if received > max_bytes:
            raise JobError("document_too_large", f"more than {max_bytes} bytes")
        yield block
    announced = response.headers.get("content-length")
    # The announced length of a compressed answer is its compressed length.
    sent = response.num_bytes_downloaded
    if announced is not None and sent != int(announced):
        raise JobError("object_changed", f"{sent} of {announced} bytes arrived")


async def _read(response: httpx.Response) -> _Answer:
    received = bytearray()
    async for piece in async_pieces(response):
        received += piece
        if len(received) > _MOST_BYTES:
            raise _unknown_form()
    return _Answer(response.status_code, bytes(received))


def _unknown_form() -> JobError:
    return JobError("storage_unavailable", "answer of unknown form", counted=True)


def _stored_object(answer: _Answer) -> StoredObject:
    try:
        body = answer.json()
        return StoredObject(str(body["version"]), int(body["size"]), body.get("content_type"))
    except (ValueError, OverflowError, KeyError, TypeError) as error:
        raise _unknown_form() from error


def _is_missing(answer: _Answer) -> bool:
    # Storage reports 404 in the body of a 400.
    return answer.status == httpx.codes.NOT_FOUND or (
        answer.status == httpx.codes.BAD_REQUEST and _inner_status(answer) == "404"
    )


def _inner_status(answer: _Answer) -> str:
    body = answer.json()
    return str(body.get("statusCode")) if isinstance(body, dict) else ""


def _check_status(answer: _Answer) -> None:
    status = answer.status
    if status == httpx.codes.OK:
        return
    inner = _inner_status(answer)
    if status in (401, 403) or inner in ("401", "403"):
        raise JobError("storage_auth", f"status {status}")
    # Status 502 to 504 of a gateway is an outage. Any other error may be caused by this object, and
    # may stay.
    outage = status in (429, 502, 503, 504)
    raise JobError("storage_unavailable", f"status {status}", counted=not outage)


@contextmanager
def _errors_translated() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise JobError("storage_unavailable", "it takes too long") from error
    except httpx.HTTPError as error:
        raise JobError("storage_unavailable", type(error).__name__) from error
    except OSError as error:
        if error.errno in NO_SPACE:
            raise JobError("no_space", "the spool folder is full") from error
        raise
