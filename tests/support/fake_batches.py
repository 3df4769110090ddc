"""OpenAI's files and batches, for a FakeOpenAI: what is asked in a batch, and what comes of it.

A batch goes through the states of the real one each time that it is asked for, and its answers come
in another order than its lines. How batches end is told by the fields of `Script`. The books say
what was paid.
"""

import json
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

#: Status, and a JSON object or the content of a file.
Reply = tuple[int, dict[str, Any] | bytes]
#: The answer for one text: status and body.
Embed = Callable[[str, dict[str, Any]], tuple[int, dict[str, Any]]]

_MISSING: Final[Reply] = (404, {"error": {"message": "no", "type": "error", "code": "no"}})
_ENDS: Final = {"completed", "expired", "cancelled", "failed"}


@dataclass
class Script:
    """What becomes of batches. Lists are for the batches that come next, one entry each."""

    is_held: bool = False  #: they stay in progress
    ends: list[str] = field(default_factory=list)  #: status, `completed` where nothing is said
    share: float = 0.5  #: of the lines that one answers which expires or is cancelled
    failed_code: str = "token_limit_exceeded"
    lost: int = 0  #: so many answers to the creation of a batch do not come
    refused_creations: list[int] = field(default_factory=list)  #: statuses
    failing_lines: list[int] = field(default_factory=list)  #: statuses, for the first lines
    is_doubled: bool = False  #: each line of an answer comes twice


class FakeBatches:
    """Files and batches of one account. Thread-safe."""

    def __init__(self, embed: Embed) -> None:
        self.script = Script()
        self.files: dict[str, tuple[str, bytes]] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.paid: list[str] = []
        self.paid_tokens = 0
        self.deleted: list[str] = []
        self._embed = embed
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._ids = 0
        self.over = threading.Event()

    def told(self, changes: dict[str, Any]) -> None:
        """Another script."""
        with self._lock:
            self.script = Script(**{**vars(self.script), **changes})

    def state(self) -> dict[str, Any]:
        """The books."""
        with self._lock:
            return {
                "submitted": len(self.batches),
                "texts": sum(len(batch["lines"]) for batch in self.batches.values()),
                "paid_texts": len(self.paid),
                "paid_tokens": self.paid_tokens,
                "files": len(self.files),
            }

    def wait_for_batches(self, count: int, timeout: float = 180) -> None:
        """Return once so many batches were submitted."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.batches) >= count, timeout)

    def submitted_texts(self) -> list[str]:
        """Every text of every batch."""
        with self._lock:
            return [
                line["body"]["input"][0]
                for batch in self.batches.values()
                for line in batch["lines"]
            ]

    def respond(self, method: str, path: str, content: bytes, content_type: str) -> Reply | None:
        """Answer a request for files or batches; None: nothing, ever."""
        path, _, query = path.partition("?")
        parts = path.rpartition("/v1/")[2].split("/")
        with self._lock:
            reply = self._route(method, parts, content, content_type, _parameters(query))
            is_lost = method == "POST" and parts == ["batches"] and self.script.lost > 0
            self.script.lost -= is_lost
            self._changed.notify_all()
        if is_lost:
            self.over.wait(600)
            return None
        return reply

    def _route(
        self, method: str, parts: list[str], content: bytes, kind: str, query: dict[str, str]
    ) -> Reply:
        match (method, *parts):
            case ("POST", "files"):
                return self._upload(content, kind)
            case ("GET", "files"):
                files = [
                    {"id": file_id, "filename": name, "created_at": int(time.time())}
                    for file_id, (name, _) in self.files.items()
                ]
                return 200, _page(files, query)
            case (_, "files", file_id, *rest) if file_id in self.files:
                return 200, self.files[file_id][1] if rest else self._delete(file_id)
            case ("POST", "batches"):
                return self._create(json.loads(content))
            case (_, "batches", *rest):
                return self._about_batches(rest, query)
        return _MISSING

    def _about_batches(self, rest: list[str], query: dict[str, str]) -> Reply:
        if not rest:
            return 200, _page([_shown(b) for b in reversed(self.batches.values())], query)
        batch = self.batches.get(rest[0])
        if batch is None:
            return _MISSING
        return 200, _shown(_cancelling(batch) if rest[1:] else self._moved(batch))

    def _delete(self, file_id: str) -> dict[str, Any]:
        del self.files[file_id]
        self.deleted.append(file_id)
        return {"id": file_id, "deleted": True}

    def _upload(self, content: bytes, kind: str) -> Reply:
        parts = _parts(content, kind)
        assert parts["purpose"][1] == b"batch"
        name, lines = parts["file"]
        file_id = self._keep(name, lines)
        return 200, {"id": file_id, "object": "file", "filename": name, "purpose": "batch"}

    def _keep(self, name: str, content: bytes) -> str:
        file_id = self._new_id("file")
        self.files[file_id] = (name, content)
        return file_id

    def _new_id(self, what: str) -> str:
        self._ids += 1
        return f"{what}-{self._ids}"

    def _create(self, body: dict[str, Any]) -> Reply:
        if self.script.refused_creations:
            status = self.script.refused_creations.pop(0)
            return status, {"error": {"message": "no", "type": "error", "code": "no"}}
        assert body["completion_window"] == "24h"
        assert body["endpoint"] == "/v1/embeddings"
        if body["input_file_id"] not in self.files:
            return 400, {"error": {"message": "no", "type": "error", "code": "no_file"}}
        content = self.files[body["input_file_id"]][1]
        lines = [json.loads(line) for line in content.split(b"\n") if line]
        assert len({line["custom_id"] for line in lines}) == len(lines)
        batch = {
            "id": self._new_id("batch"),
            "object": "batch",
            "status": "validating",
            "input_file_id": body["input_file_id"],
            "metadata": body.get("metadata"),
            "created_at": int(time.time()),
            "output_file_id": None,
            "error_file_id": None,
            "errors": None,
            "lines": lines,
        }
        self.batches[batch["id"]] = batch
        return 200, _shown(batch)

    def _moved(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch, one step further."""
        if batch["status"] == "cancelling":
            self._end(batch, "cancelled")
        elif batch["status"] == "validating" and (self.script.is_held or not self.script.ends):
            batch["status"] = "in_progress"
        if batch["status"] not in _ENDS and not self.script.is_held:
            self._end(batch, self.script.ends.pop(0) if self.script.ends else "completed")
        return batch

    def _end(self, batch: dict[str, Any], status: str) -> None:
        batch["status"] = status
        if status == "failed":
            batch["errors"] = {"data": [{"code": self.script.failed_code, "message": "no"}]}
            return
        lines = batch["lines"]
        count = len(lines) if status == "completed" else int(len(lines) * self.script.share)
        answered = [self._answer(line) for line in lines[:count]]
        cut = [_unanswered(line, status) for line in lines[count:]]
        good = [line for line in answered if line["response"]["status_code"] == 200]
        bad = [line for line in answered if line not in good] + cut
        if good:
            batch["output_file_id"] = self._keep("output", self._written(good))
        if bad:
            batch["error_file_id"] = self._keep("errors", self._written(bad))

    def _answer(self, line: dict[str, Any]) -> dict[str, Any]:
        (text,) = line["body"]["input"]
        if self.script.failing_lines:
            status = self.script.failing_lines.pop(0)
            body: dict[str, Any] = {"error": {"message": "no", "type": "error", "code": "no"}}
        else:
            status, body = self._embed(text, line["body"])
        if status == 200:
            self.paid.append(text)
            self.paid_tokens += body["usage"]["total_tokens"]
        return {
            "id": self._new_id("batch_req"),
            "custom_id": line["custom_id"],
            "response": {"status_code": status, "request_id": "r", "body": body},
            "error": None,
        }

    def _written(self, lines: list[dict[str, Any]]) -> bytes:
        lines = lines * (2 if self.script.is_doubled else 1)
        random.Random(len(lines)).shuffle(lines)
        return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _unanswered(line: dict[str, Any], status: str) -> dict[str, Any]:
    said = {"code": f"batch_{status}", "message": "This request could not be executed."}
    return {"id": "r", "custom_id": line["custom_id"], "response": None, "error": said}


def _cancelling(batch: dict[str, Any]) -> dict[str, Any]:
    if batch["status"] not in _ENDS:
        batch["status"] = "cancelling"
    return batch


def _shown(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name != "lines"}


def _parameters(query: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in query.split("&") if "=" in part)


def _page(items: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    ids = [item["id"] for item in items]
    start = ids.index(query["after"]) + 1 if "after" in query else 0
    end = start + int(query.get("limit", 20))
    return {"object": "list", "data": items[start:end], "has_more": end < len(items)}


def _parts(content: bytes, kind: str) -> dict[str, tuple[str, bytes]]:
    """The fields of a form, each with the name of its file."""
    boundary = b"--" + kind.partition("boundary=")[2].encode()
    found = {}
    for part in content.split(boundary)[1:-1]:
        head, _, body = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        names = dict(re.findall(rb'(\w+)="([^"]*)"', head))
        found[names[b"name"].decode()] = (
            names.get(b"filename", b"").decode(),
            body.removesuffix(b"\r\n"),
        )
    return found
