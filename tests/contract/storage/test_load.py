"""Many requests at once and very large ones: limited time, constant memory."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.contract.storage.conftest import Watched

pytestmark = pytest.mark.embedded_only("looks at the process")

MIB = 1024 * 1024
LARGE_MIB = 192


def resident_mib(pid: int, name: str) -> float:
    match = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def reset_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def test_a_thousand_small_uploads_are_all_stored_and_told(watched: Watched) -> None:
    bucket = watched.bucket
    pid = watched.inside.server.child.pid
    with bucket.target.http("storage") as http:

        def upload(number: int) -> int:
            url = f"/object/{bucket.name}/{number % 10}/{number}.txt"
            return http.post(url, content=str(number).encode()).status_code

        begun = cpu_seconds(pid)
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(upload, range(1000)))
        # Measure CPU time, because other programs may use the machine too.
        assert cpu_seconds(pid) - begun < 20
    assert statuses == [200] * 1000
    assert len(watched.rows()) == 1000
    told = [delivery.event["record"]["name"] for delivery in watched.deliveries()]
    assert sorted(told) == sorted(row[0] for row in watched.rows())


def test_a_large_upload_and_download_keep_memory_flat(watched: Watched) -> None:
    bucket = watched.bucket
    pid = watched.inside.server.child.pid
    block = bytes(MIB)

    def form() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
        for _ in range(LARGE_MIB):
            yield block
        yield b"\r\n--b--\r\n"

    url = f"/object/{bucket.name}/large.bin"
    headers = {"content-type": "multipart/form-data; boundary=b"}
    with bucket.target.http("storage") as http:
        before = resident_mib(pid, "VmRSS")
        reset_peak(pid)
        assert http.post(url, content=form(), headers=headers, timeout=60).status_code == 200
        with http.stream("GET", url) as response:
            size = sum(len(chunk) for chunk in response.iter_raw())
    assert size == LARGE_MIB * MIB
    assert resident_mib(pid, "VmHWM") - before < 24
    bucket.admin.remove(["large.bin"])
