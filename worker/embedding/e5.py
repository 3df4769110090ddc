"""The embedder of the extra `e5`: its engine runs in a process of its own, without keys.

An engine in C that meets texts of strangers may fall over, and is slow: here it takes nothing with
it, and can be ended. One process serves all embedders of a worker: the model uses all cores.
"""

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from docmill.worker.errors import JobError
from docmill.worker.log import get_logger
from docmill.worker.ports import Vectors
from docmill.worker.providers.base import Kind
from docmill.worker.providers.e5 import E5

log = get_logger(__name__)

DIMENSIONS: Final = 384
#: What a request may take: 8 texts of 512 tokens take some 10 s of a core, many times as much on a
#: busy machine.
DEADLINE_SECONDS: Final = 300.0
_COMMAND: Final = (sys.executable, "-m", "docmill.worker.embedding.e5_engine")


class E5Embedder:
    """Asks the process for embeddings of passages or of queries. Thread-safe."""

    model = "multilingual-e5-small-q4"
    dimensions = DIMENSIONS
    request_limits = E5.limits

    def __init__(self, kind: Kind = Kind.DOCUMENT) -> None:
        self._kind = kind

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, int]:
        """Vectors of shape (len(texts), 384), each of length 1, and the number of tokens.

        Raises JobError: `embedding_rejected` when the process ends, or takes too long, over these
        texts; `provider_unavailable` when it cannot be started.
        """
        most = self.request_limits.texts
        parts = [texts[start : start + most] for start in range(0, len(texts), most)]
        made = [_engine(os.getpid()).ask(self._kind, part) for part in parts]
        empty = np.empty((0, DIMENSIONS), np.float32)
        return np.concatenate([empty, *(vectors for vectors, _ in made)]), sum(n for _, n in made)


class EngineProcess:
    """The process, started when it is first asked and again after it ended. Thread-safe."""

    def __init__(self, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._deadline = deadline_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, kind: Kind, texts: Sequence[str]) -> tuple[Vectors, int]:
        """Embeddings and number of tokens; one request at a time. Raises JobError."""
        request = json.dumps({"kind": kind.value, "texts": list(texts)}).encode() + b"\n"
        size = len(texts) * DIMENSIONS * 4
        with self._lock:
            process = self._running()
            try:
                answer = self._answer(process, request, size + 8)
            except (OSError, EOFError, TimeoutError) as error:
                self.close()
                log.warning("engine_ended", texts=len(texts), error=type(error).__name__)
                raise JobError("embedding_rejected", type(error).__name__) from error
        vectors = np.frombuffer(answer, np.float32, offset=8).reshape(len(texts), DIMENSIONS)
        if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
            raise JobError("embedding_rejected", "embedding that is no direction")
        return vectors, int.from_bytes(answer[:8], "little")

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = _started()
        return self._process

    def _answer(self, process: "subprocess.Popen[bytes]", request: bytes, size: int) -> bytes:
        # A thread writes: an engine that does not read must not stop the clock.
        writer = threading.Thread(target=_write, args=(process, request), daemon=True)
        writer.start()
        assert process.stdout is not None
        until = time.monotonic() + self._deadline
        received = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while len(received) < size:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise TimeoutError
                piece = os.read(process.stdout.fileno(), size - len(received))
                if not piece:
                    raise EOFError
                received += piece
        writer.join()
        return bytes(received)


def _write(process: "subprocess.Popen[bytes]", request: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(request)
        process.stdin.flush()
    except OSError:
        return  # it has ended: whoever reads from it sees that


def _started() -> "subprocess.Popen[bytes]":
    """A process with none of our keys, which ends when we do: its input is then closed."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    kept["OMP_WAIT_POLICY"] = "passive"  # threads that wait leave their cores to others
    try:
        process = subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=kept,
            start_new_session=True,
        )
    except OSError as error:
        raise JobError("provider_unavailable", type(error).__name__) from error
    assert process.stdout is not None
    if process.stdout.read(1) != b"+":  # it says so when the model is there
        process.kill()
        process.communicate()
        raise JobError("provider_unavailable", "the model of the extra e5 does not start")
    return process


@lru_cache(maxsize=1)
def _engine(_pid: int) -> EngineProcess:
    """That of this process: a fork has none of its parent's."""
    return EngineProcess()
