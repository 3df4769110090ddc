"""The cost of hostile connections for the receiver, and for its honest clients.

`make bench-receiver`. For a minute (`--seconds`), fifty hostile connections of one kind are open,
each replaced when the receiver closes it, beside ten honest events per second. The same run
measures the honest events alone. Memory is the process's resident set, read every tenth of a
second.
"""

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from tests.benchmarks.figures import Figures, machine, print_table
from tests.benchmarks.webhook import ask, new_objects, with_installation
from tests.support.installation import Installation

CONNECTIONS: Final = 50
EVENTS_PER_SECOND: Final = 10
MIB: Final = 1024 * 1024

_CHUNKED: Final = (
    b"POST /webhooks/storage HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
)
_LONG: Final = b"POST /webhooks/storage HTTP/1.1\r\nhost: a\r\ncontent-length: 60000\r\n\r\n"
#: The first bytes, the bytes that are repeated, and the pause in between.
KINDS: Final[dict[str, tuple[bytes, bytes, float]]] = {
    "silent": (b"", b"", 1.0),
    "endless URL": (b"GET /", b"a" * 65536, 0.0),
    "endless header": (b"GET / HTTP/1.1\r\nhost: a\r\nx: ", b"a" * 65536, 0.0),
    "endless headers": (b"GET / HTTP/1.1\r\nhost: a\r\n", b"x: a\r\n" * 10_000, 0.0),
    "dripping headers": (b"GET / HTTP/1.1\r\nhost: a\r\nx: ", b"a", 0.5),
    "dripping body": (_LONG, b"a", 0.5),
    "endless chunks": (_CHUNKED, b"1\r\na\r\n" * 10_000, 0.0),
    "endless framing": (_CHUNKED, b"1;" + b"a" * 65536, 0.0),
    "endless trailers": (_CHUNKED + b"1\r\na\r\n0\r\n", b"trailer: a\r\n" * 5_000, 0.0),
    "dripping trailers": (_CHUNKED + b"1\r\na\r\n0\r\nx: ", b"a", 0.5),
    "wrong secret": (_LONG + b"a" * 60000, b"", 0.0),
}


async def attack(port: int, kind: str, until: float) -> None:
    """One hostile connection after the other."""
    first, again, pause = KINDS[kind]
    while time.monotonic() < until:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(max(0.01, until - time.monotonic())):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(first)
                    while not reader.at_eof():
                        writer.write(again)
                        await writer.drain()
                        if pause or not again:
                            with contextlib.suppress(TimeoutError):
                                await asyncio.wait_for(reader.read(4096), pause or 10)
                        else:
                            await asyncio.sleep(0)
                finally:
                    writer.transport.abort()


async def honest(port: int, requests: list[bytes], until: float) -> list[float]:
    """Events at an even pace; milliseconds of each answer."""
    waiting = []
    for request in requests:
        if time.monotonic() >= until:
            break
        waiting.append(asyncio.create_task(ask(port, request)))
        await asyncio.sleep(1 / EVENTS_PER_SECOND)
    answers = await asyncio.gather(*waiting)
    assert {status for status, _ in answers} == {202}
    return [milliseconds for _, milliseconds in answers]


def resident(pid: int) -> int:
    """The resident memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@contextlib.asynccontextmanager
async def watching(pid: int, note: Callable[[int], None]) -> AsyncIterator[None]:
    """Report the resident memory all the time."""

    async def look() -> None:
        while True:
            note(resident(pid))
            await asyncio.sleep(0.1)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()


async def one_kind(running: Installation, kind: str | None, seconds: float) -> tuple[Figures, int]:
    """Honest events beside one kind of attack, or alone; and the highest memory."""
    requests = new_objects(running, int(seconds * EVENTS_PER_SECOND))
    port, pid = running.webhook_port, running.children[-1].pid
    peak: list[int] = []
    until = time.monotonic() + seconds
    async with watching(pid, peak.append):
        attacks = [
            asyncio.create_task(attack(port, kind, until)) for _ in range(CONNECTIONS) if kind
        ]
        figures = Figures(kind or "no attack", "ms")
        figures.values += await honest(port, requests, until)
        await asyncio.gather(*attacks)
    return figures, max(peak)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each kind")
    seconds = parser.parse_args().seconds

    def report(running: Installation) -> None:
        print(machine())
        asyncio.run(one_kind(running, None, 3))  # warm up
        before = resident(running.children[-1].pid)
        found = [asyncio.run(one_kind(running, kind, seconds)) for kind in (None, *KINDS, None)]
        print_table([figures for figures, _peak in found])
        for figures, peak in found:
            print(f"{figures.name}: resident + {(peak - before) / MIB:.1f} MiB")

    with_installation(report)


if __name__ == "__main__":
    main()
