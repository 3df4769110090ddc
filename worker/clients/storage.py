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

from docmill.worker.clients.decoded import pieces
from docmill.worker.errors import NO_SPACE, JobError
from docmill.worker.ports import StopCheck, StoredObject

#: Longest silence of the server, while connecting or reading; a slow but steady transfer continues.
TIMEOUT: Final = httpx.Timeout(30, connect=10)
#: How often to check whether the run must stop while waiting for Storage.
POLL_SECONDS: Final = 0.25
T = TypeVar("T")


class SupabaseStorage:
    """Reads objects with the project's secret key. Safe to share between threads."""

    def __init__(self, supabase_url: str, secret_key: str, *, connections: int = 32) -> None:
        self._client = httpx.Client(
            base_url=f"{supabase_url.rstrip('/')}/storage/v1",
            # A secret key may be in Authorization because it equals apikey; the old service_role
            # tokens must be there.
            headers={
                "apikey": secret_key,
                "Authorization": f"Bearer {secret_key}",
                # Most files are already compressed; a proxy would compress them again.
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
        """The object that Storage now has under this name; None if there is none. Raises JobError.

        `check` is called during the wait.
        """
        path = object_path(bucket_id, object_name)
        self._wait_for_turn(check)
        return self._attended(lambda _abandoned: self._info(path), check)

    def _info(self, path: str) -> StoredObject | None:
        with _errors_translated():
            # The public route would treat a wrong key as no user, for whom every object is missing.
            response = self._client.get(f"/object/info/authenticated/{path}")
        if _is_missing(response):
            return None
        _check_status(response)
        return _stored_object(response)

    def download(
        self, bucket_id: str, object_name: str, target: Path, *, max_bytes: int, check: StopCheck
    ) -> bytes:
        """Stream the object into a file and return its sha256.

        `check` is called meanwhile. Raises JobError: `document_too_large` beyond `max_bytes`,
        `object_changed` if the object is gone or incomplete.
        """
        path = object_path(bucket_id, object_name)
        # The request owns its own descriptor. If the run stops, the request may continue after the
        # target is closed, when the target's name can already belong to another document's file.
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
        """Whether the first bytes of an object can be downloaded now."""
        path = object_path(bucket_id, object_name)
        try:
            with self._client.stream("GET", f"/object/authenticated/{path}") as response:
                next(pieces(response), b"")
                return response.status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def _wait_for_turn(self, check: StopCheck) -> None:
        while not self._gate.acquire(timeout=POLL_SECONDS):
            check()

    def _attended(self, request: Callable[[threading.Event], T], check: StopCheck) -> T:
        """Make a request on its own thread, which is abandoned if the run must stop.

        If a server sends nothing, or only a byte now and then, only that thread waits, until its
        time-out or the next byte. The caller has already waited for its turn.
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

        # Daemon: the process can end without waiting for it.
        threading.Thread(target=run, name="storage", daemon=True).start()
        try:
            while not wait([future], POLL_SECONDS).done:
                check()
        except BaseException:
            abandoned.set()
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


def _limited(response: httpx.Response, max_bytes: int) -> Iterator[bytes]:
    received = 0
    # Read data as it arrives: filling a block could take for ever.
    for block in pieces(response):
        received += len(block)
        if received > max_bytes:
            raise JobError("document_too_large", f"more than {max_bytes} bytes")
        yield block
    announced = response.headers.get("content-length")
    # The announced length of a compressed answer is its compressed length.
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
    # Storage reports 404 in the body of a 400.
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
    # Status 502 to 504 of a gateway is an outage. Any other error may be caused by this object, and
    # may stay.
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
