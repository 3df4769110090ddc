"""Batches of a provider that speaks OpenAI's Batch API: files, batches, and the lines of an answer.

API reference, "Files" and "Batch": a file of requests, one a line, is uploaded with the purpose
`batch`; a batch of it is created for `/v1/embeddings`; once it is completed, expired or cancelled,
one file has the answers and another one the errors, in any order.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import IO, Any, Final, Literal

import httpx

from docmill.worker.clients.decoded import pieces
from docmill.worker.clients.embedder import billed, checked, tls
from docmill.worker.errors import JobError
from docmill.worker.log import get_logger
from docmill.worker.ports import Vector
from docmill.worker.providers.base import Access, HttpProvider, Refusal, Wanted

log = get_logger(__name__)

#: Of the path in a line and of a batch; whatever the base URL is.
ENDPOINT: Final = "/v1/embeddings"
#: What the metadata of a batch name ours by.
KEY: Final = "docmill_batch"
#: Files that nobody came to delete are gone after this time: a batch is over in a day.
FILE_SECONDS: Final = 3 * 86_400
#: How much earlier than ours the provider's clock may be.
CLOCKS: Final = timedelta(hours=1)
#: For the file of a batch and its answer, of a few gigabytes at most, on a slow line.
ROUND_SECONDS: Final = 3600.0
_PAGE: Final = 100
_MOST_BYTES: Final = 16 * 1024 * 1024  # of an answer that is no file
#: Of a line of an answer: each number of an embedding with all its digits, and what is beside it.
_BYTES_A_NUMBER: Final = 64
_BYTES_BESIDE: Final = 4096
#: What a provider calls an error by: anything else may be a text of a stranger.
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,60}")

#: Of a batch that the provider has ended.
FINAL_STATUSES: Final = frozenset({"completed", "expired", "cancelled", "failed"})
#: Of a text that the provider takes from nobody.
_REFUSED_STATUSES: Final = frozenset({400, 413, 422})

LineOutcome = Literal["embedded", "refused", "again"]


@dataclass(frozen=True)
class RemoteBatch:
    """A batch as the provider tells of it."""

    id: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    error_code: str | None  #: the provider's word for why it failed


@dataclass(frozen=True)
class Line:
    """What a line of an answer says of one text."""

    custom_id: str
    outcome: LineOutcome
    vector: "Vector | None" = None
    tokens: int = 0  #: billed


class HttpBulk:
    """Batches over HTTP. Each call is one request, or a few; all raise JobError."""

    def __init__(
        self,
        provider: HttpProvider,
        access: Access,
        wanted: Wanted,
        *,
        timeout_seconds: float,
        round_seconds: float = ROUND_SECONDS,
    ) -> None:
        """`timeout_seconds`: the longest silence of the provider.

        All calls together may take `ROUND_SECONDS`: then they end with `provider_unavailable`.
        """
        self._provider = provider
        self._access = access
        self._wanted = wanted
        example = provider.request(access, wanted, ["x"])
        self._root = example.url.removesuffix("/embeddings")
        self._line_bytes = wanted.dimensions * _BYTES_A_NUMBER + _BYTES_BESIDE
        self._most_lines = provider.bulk.texts if provider.bulk is not None else 0
        # No redirects: they would carry the key to wherever an answer says.
        self._client = httpx.Client(
            verify=tls(), timeout=timeout_seconds, headers=dict(example.headers)
        )
        # A provider that sends a byte now and then is never silent. Whoever waits for it finds the
        # connection closed at its next byte, or when its silence is too long.
        self._is_over = threading.Event()
        self._end = threading.Timer(round_seconds, self._give_up)
        self._end.daemon = True
        self._end.start()

    def close(self) -> None:
        """Close all connections."""
        self._end.cancel()
        self._client.close()

    def _give_up(self) -> None:
        log.warning("provider_too_slow", provider=self._provider.name)
        self._is_over.set()
        self._client.close()

    def line(self, custom_id: str, text: str) -> bytes:
        """The line of a file that asks for one text."""
        body = self._provider.request(self._access, self._wanted, [text]).body
        request = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}
        try:
            return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        except UnicodeEncodeError:
            # Half of a surrogate pair: the provider says of this text alone that it is none.
            return json.dumps(request, separators=(",", ":")).encode() + b"\n"

    def upload(self, name: str, content: IO[bytes]) -> str:
        """Upload a file of lines; its id."""
        answer = self._json(
            "POST",
            "/files",
            data={
                "purpose": "batch",
                "expires_after[anchor]": "created_at",
                "expires_after[seconds]": str(FILE_SECONDS),
            },
            files={"file": (name, content, "application/jsonl")},
        )
        return _text(answer, "id")

    def files_named(self, name: str) -> list[str]:
        """The ids of uploaded files with this name."""
        return [
            _text(file, "id")
            for file in self._listed("/files", {"purpose": "batch"})
            if file.get("filename") == name
        ]

    def create(self, file_id: str, key: str) -> RemoteBatch:
        """Submit a file as a batch that is found by this key."""
        return _batch(
            self._json(
                "POST",
                "/batches",
                json={
                    "input_file_id": file_id,
                    "endpoint": ENDPOINT,
                    "completion_window": "24h",
                    "metadata": {KEY: key},
                },
            )
        )

    def find(self, key: str, *, since: datetime) -> RemoteBatch | None:
        """The batch that was submitted with this key, not before `since`; None: there is none."""
        oldest = (since - CLOCKS).timestamp()
        for batch in self._listed("/batches", {}):  # the newest first
            metadata = batch.get("metadata")
            if isinstance(metadata, dict) and metadata.get(KEY) == key:
                return _batch(batch)
            created_at = batch.get("created_at")
            if isinstance(created_at, int | float) and created_at < oldest:
                return None
        return None

    def get(self, batch_id: str) -> RemoteBatch:
        """A batch as it is now."""
        return _batch(self._json("GET", f"/batches/{batch_id}"))

    def cancel(self, batch_id: str) -> RemoteBatch:
        """Ask for the end of a batch. What it has embedded by then is paid for, and answered."""
        return _batch(self._json("POST", f"/batches/{batch_id}/cancel"))

    def download(self, file_id: str, target: IO[bytes]) -> None:
        """Write what a file holds. Raises `provider_model_missing` where it is gone.

        Raises `provider_invalid_response` once it is longer than the answers to a whole batch.
        """
        left = self._most_lines * self._line_bytes
        with self._answer("GET", f"/files/{file_id}/content") as answer:
            for piece in pieces(answer):
                left -= len(piece)
                if left < 0:
                    raise JobError("provider_invalid_response", "more than a batch holds")
                target.write(piece)

    def delete(self, file_id: str) -> None:
        """Delete a file; it may be gone already."""
        try:
            self._json("DELETE", f"/files/{file_id}")
        except JobError as error:
            if error.code != "provider_model_missing":
                raise

    def lines(self, answer: IO[bytes]) -> Iterator[Line | None]:
        """What the lines of an answer say, in order. A longer one than any is read in pieces."""
        for line in iter(partial(answer.readline, self._line_bytes), b""):
            yield self.read(line)

    def read(self, line: bytes) -> Line | None:
        """What a line of an answer says; None: nothing that can be understood."""
        try:
            said = json.loads(line)
            custom_id = _text(said, "custom_id")
            answer = said.get("response") or {}
            status = answer.get("status_code")
            if status != 200 or said.get("error"):
                refused = status in _REFUSED_STATUSES
                return Line(custom_id, "refused" if refused else "again")
            return self._embedded(custom_id, answer["body"])
        except (ValueError, RecursionError, LookupError, AttributeError, TypeError, JobError):
            return None

    def _embedded(self, custom_id: str, body: Any) -> Line:
        tokens = billed(self._provider, body)
        try:
            embeddings = self._provider.embeddings(body)
            vectors = checked(embeddings, count=1, dimensions=self._wanted.dimensions)
        except Exception:  # whatever the provider answers instead of an embedding
            return Line(custom_id, "again")
        return Line(custom_id, "embedded", vectors[0], tokens)

    def _listed(self, path: str, parameters: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        after: str | None = None
        while True:
            wanted = {**parameters, "limit": str(_PAGE), **({"after": after} if after else {})}
            answer = self._json("GET", path, params=wanted)
            items = _objects(answer.get("data"))
            yield from items
            if not items or not answer.get("has_more"):
                return
            before, after = after, _text(items[-1], "id")
            if after == before:
                raise JobError("provider_invalid_response", "a list without an end")

    def _json(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        with self._answer(method, path, **how) as answer:
            content = _bounded(answer)
        return _object(content)

    @contextmanager
    def _answer(self, method: str, path: str, **how: Any) -> Iterator[httpx.Response]:
        """The answer to a request, while it arrives."""
        try:
            with self._client.stream(method, f"{self._root}{path}", **how) as answer:
                self._check(answer)
                yield answer
        except JobError:
            raise
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise JobError("provider_unavailable", type(error).__name__) from error
        except Exception as error:
            # A closed connection fails in whatever the client was about to do with it.
            if self._is_over.is_set():
                raise JobError("provider_unavailable", "it takes too long") from error
            raise

    def _check(self, answer: httpx.Response) -> None:
        if answer.status_code == 200:
            return
        headers = {name.lower(): value for name, value in answer.headers.items()}
        try:
            refusal = Refusal(answer.status_code, headers, _object(_bounded(answer)))
        except JobError:
            refusal = Refusal(answer.status_code, headers, None)
        code = self._provider.code(refusal)
        log.warning(
            "provider_refused",
            provider=self._provider.name,
            status=answer.status_code,
            provider_words=sorted(self._provider.machine_words(refusal)),
            error_code=code,
        )
        raise JobError(code, f"status {answer.status_code}")


def _bounded(answer: httpx.Response) -> bytes:
    received = bytearray()
    for piece in pieces(answer):
        received += piece
        if len(received) > _MOST_BYTES:
            raise JobError("provider_invalid_response", f"more than {_MOST_BYTES} bytes")
    return bytes(received)


def _object(content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise JobError("provider_invalid_response", type(error).__name__) from error
    if not isinstance(answer, dict):
        raise JobError("provider_invalid_response", "no object")
    return answer


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise JobError("provider_invalid_response", f"no {name}")
    return value


def _objects(items: Any) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _batch(answer: Mapping[str, Any]) -> RemoteBatch:
    return RemoteBatch(
        id=_text(answer, "id"),
        status=_text(answer, "status"),
        output_file_id=_text_or_none(answer, "output_file_id"),
        error_file_id=_text_or_none(answer, "error_file_id"),
        error_code=_error_code(answer.get("errors")),
    )


def _text_or_none(answer: Mapping[str, Any], name: str) -> str | None:
    return _text(answer, name) if answer.get(name) else None


def _error_code(errors: Any) -> str | None:
    said = _objects(errors.get("data")) if isinstance(errors, dict) else []
    code = str(said[0].get("code")) if said else ""
    return code if code != "None" and _WORD.fullmatch(code) else None
