"""Downloads from Supabase Storage, streamed: its Python client reads whole files into memory."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, TypeVar
from urllib.parse import quote

import httpx

from docmill.worker.errors import NO_SPACE, JobError
from docmill.worker.ports import StopCheck, StoredObject

#: Longest silence of the other side, connecting or reading; a slow but steady transfer goes on.
TIMEOUT: Final = httpx.Timeout(30, connect=10)
#: How often a run's reasons to stop are looked at while Storage is waited for.
POLL_SECONDS: Final = 0.25
T = TypeVar("T")


class SupabaseStorage:
    """Reads objects with the project's secret key. Safe to share between threads."""

    def __init__(self, supabase_url: str, secret_key: str, *, connections: int = 32) -> None:
        self._client = httpx.Client(
            base_url=f"{supabase_url.rstrip('/')}/storage/v1",
            # A secret key may stand in Authorization because it equals apikey; the old
            # service_role tokens must stand there.
            headers={
                "apikey": secret_key,
                "Authorization": f"Bearer {secret_key}",
                # Most files are compressed already; a proxy would compress them once more.
                "Accept-Encoding": "identity",
            },
            timeout=TIMEOUT,
            limits=httpx.Limits(max_connections=connections),
        )
        self._gate = threading.BoundedSemaphore(connections)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def info(self, bucket_id: str, object_name: str, *, check: StopCheck) -> StoredObject | None:
        """What Storage holds at this name now; None when nothing. Raises JobError.

        `check` is called while the answer is waited for.
        """
        path = object_path(bucket_id, object_name)
        self._wait_for_turn(check)
        return self._attended(lambda _abandoned: self._info(path), check)

    def _info(self, path: str) -> StoredObject | None:
        with _errors_translated():
            # The plain route takes a wrong key for nobody, to whom every object is missing.
            response = self._client.get(f"/object/info/authenticated/{path}")
        if _is_missing(response):
            return None
        _check_status(response)
        return _stored_object(response)

    def download(
        self, bucket_id: str, object_name: str, target: Path, *, max_bytes: int, check: StopCheck
    ) -> bytes:
        """Stream the object into a file and return its sha256.

        `check` is called while it goes on. Raises JobError: `document_too_large` past `max_bytes`,
        `object_changed` when the object is gone or came short.
        """
        path = object_path(bucket_id, object_name)
        # The request owns a descriptor from here on. A request that is left behind may outlive the
        # target, and by then the target's name can lead to another document's file.
        with _errors_translated():
            file = target.open("wb")
        try:
            self._wait_for_turn(check)
        except BaseException:
            file.close()
            raise
        return self._attended(
            lambda abandoned: self._download(path, file, max_bytes, abandoned), check
        )

    def _download(
        self, path: str, file: IO[bytes], max_bytes: int, abandoned: threading.Event
    ) -> bytes:
        digest = hashlib.sha256()
        with (
            _errors_translated(),
            file,
            self._client.stream("GET", f"/object/authenticated/{path}") as response,
        ):
            if response.status_code != httpx.codes.OK:
                response.read()
                if _is_missing(response):
                    raise JobError("object_changed", "the object is gone")
                _check_status(response)
            for block in _limited(response, max_bytes):
                if abandoned.is_set():
                    break
                digest.update(block)
                file.write(block)
        return digest.digest()

    def serves(self, bucket_id: str, object_name: str) -> bool:
        """Whether the first bytes of an object can be had now."""
        path = object_path(bucket_id, object_name)
        try:
            with self._client.stream("GET", f"/object/authenticated/{path}") as response:
                next(response.iter_bytes(), b"")
                return response.status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def _wait_for_turn(self, check: StopCheck) -> None:
        while not self._gate.acquire(timeout=POLL_SECONDS):
            check()

    def _attended(self, request: Callable[[threading.Event], T], check: StopCheck) -> T:
        """Make a request on a thread of its own, which is left behind when the run must stop.

        A server that sends nothing, or a byte now and then, is waited for by that thread alone,
        until its time-out or its next byte. The caller has waited for its turn.
        """
        future: Future[T] = Future()
        abandoned = threading.Event()

        def run() -> None:
            try:
                future.set_result(request(abandoned))
            except BaseException as error:
                future.set_exception(error)
            finally:
                self._gate.release()

        # Daemon: the end of the process does not wait for it.
        threading.Thread(target=run, name="storage", daemon=True).start()
        try:
            while not wait([future], POLL_SECONDS).done:
                check()
        except BaseException:
            abandoned.set()
            raise
        return future.result()


def object_path(bucket_id: str, object_name: str) -> str:
    """Path of an object in a URL, every segment percent-encoded by us.

    Raises JobError, `unsupported_name`, when no URL would name it.
    """
    segments = object_name.split("/")
    if "." in segments or ".." in segments:
        # Every URL parser on the way may resolve these, and would then fetch another object.
        raise JobError("unsupported_name", "a dot segment")
    if not segments[-1]:
        # Clients and proxies drop the last slash, and would then fetch another object.
        raise JobError("unsupported_name", "ends in a slash")
    return "/".join(quote(segment, safe="") for segment in [bucket_id, *segments])


def _limited(response: httpx.Response, max_bytes: int) -> Iterator[bytes]:
    received = 0
    # As it arrives: to fill a block of our own size could take for ever.
    for block in response.iter_bytes():
        received += len(block)
        if received > max_bytes:
            raise JobError("document_too_large", f"more than {max_bytes} bytes")
        yield block
    announced = response.headers.get("content-length")
    # Of a compressed answer the length is announced as it is sent, not as it is unpacked.
    sent = response.num_bytes_downloaded
    if announced is not None and sent != int(announced):
        raise JobError("object_changed", f"{sent} of {announced} bytes arrived")


def _stored_object(response: httpx.Response) -> StoredObject:
    try:
        body = response.json()
        return StoredObject(str(body["version"]), int(body["size"]), body.get("content_type"))
    except (ValueError, KeyError, TypeError) as error:
        raise JobError("storage_unavailable", "answer of unknown form", counted=True) from error


def _is_missing(response: httpx.Response) -> bool:
    # Storage says 404 in the body of a 400.
    return response.status_code == httpx.codes.NOT_FOUND or (
        response.status_code == httpx.codes.BAD_REQUEST
        and str(_body(response).get("statusCode")) == "404"
    )


def _body(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status < 400:
        return
    inner = str(_body(response).get("statusCode"))
    if status in (401, 403) or inner in ("401", "403"):
        raise JobError("storage_auth", f"status {status}")
    # A gateway's 502 to 504 is an outage. Any other answer is about this object: it may stay.
    outage = status in (429, 502, 503, 504)
    raise JobError("storage_unavailable", f"status {status}", counted=not outage)


@contextmanager
def _errors_translated() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise JobError("storage_unavailable", type(error).__name__) from error
    except OSError as error:
        if error.errno in NO_SPACE:
            raise JobError("no_space", "the spool folder is full") from error
        raise
