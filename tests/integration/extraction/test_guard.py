"""Whatever a child does, its document gets an error code, nothing is left, and others continue."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from docmill.worker import metrics
from docmill.worker.errors import DrainError, JobError
from docmill.worker.extraction import ExtractionLimits, GuardedExtractor
from docmill.worker.extraction.parent import child_reader, folders, guard, supervisor
from docmill.worker.extraction.shared.protocol import Limits
from tests.integration.extraction import documents
from tests.integration.extraction.conftest import (
    HOSTILE,
    assert_nothing_left,
    children_of,
    code_of,
    is_running,
    limited,
    pid_of,
    processes_in,
    read_document,
    wait_until,
)
from tests.support.slow import SLOW_MARKDOWN

Order = Callable[[str], Path]
MakeHostile = Callable[..., GuardedExtractor]


def said(extractor: GuardedExtractor, path: Path) -> list[Any]:
    return [json.loads(element.text) for element in read_document(extractor, path).elements]


# -- limits


def test_a_child_that_spins_is_ended_by_its_cpu_time(make_hostile: MakeHostile, order: Order):
    extractor = make_hostile(timeout_seconds=1, patience=100)
    assert code_of(extractor, order("spin")) == "parse_timeout"
    assert_nothing_left(extractor)


def test_a_child_that_spins_while_nobody_waits_is_ended_by_the_kernel(
    make_hostile: MakeHostile, order: Order, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        guard.ExtractionLimits, "of_child", lambda _: Limits(512 * 1024 * 1024, cpu_seconds=1)
    )
    extractor = make_hostile()
    assert code_of(extractor, order("spin")) == "parse_timeout"


def test_cpu_time_of_all_children_counts_together(
    make_hostile: MakeHostile, order: Order, monkeypatch: pytest.MonkeyPatch
):
    """Time of other processes on the cores does not count: see parse_stalled."""
    extractor = make_hostile(timeout_seconds=1, patience=100)
    document = guard._Document("owner", extractor._limits)
    taken = document.cpu_seconds("plain")
    task = child_reader.Task(order("burn 0.7"), "a")

    def read() -> None:
        with extractor._read(document, task, lambda: None) as opened:
            list(opened.parts)

    read()
    assert 0.2 < taken.left < 0.4
    read()  # it may begin, because some time is left
    with pytest.raises(JobError) as caught:
        read()
    assert caught.value.code == "parse_timeout"
    assert_nothing_left(extractor)


def test_a_child_that_sleeps_after_its_header_is_ended(make_hostile: MakeHostile, order: Order):
    extractor = make_hostile(timeout_seconds=1, patience=1)
    path = order("sleep_after_header")
    with extractor.open(path, file_name="a", check=lambda: None) as extraction:
        assert extraction.mime_type == "text/plain"
        with pytest.raises(JobError) as caught:
            list(extraction.windows())
    # It may have waited for a core, so it is tried again, and that is counted.
    assert (caught.value.code, caught.value.counted) == ("parse_stalled", True)
    assert_nothing_left(extractor)


def test_a_child_that_takes_too_much_memory(hostile: GuardedExtractor, order: Order):
    assert code_of(hostile, order("hog")) == "parse_memory"


def test_a_child_that_writes_without_end(make_hostile: MakeHostile, order: Order):
    extractor = make_hostile(max_characters=1_000_000)
    assert code_of(extractor, order("flood")) == "document_too_large"
    assert code_of(extractor, order("flood_with_nothing")) == "document_too_large"
    assert_nothing_left(extractor)


def test_a_child_writes_in_its_folder_only_and_not_much(
    hostile: GuardedExtractor, order: Order, tmp_path: Path
):
    outside, grow, folder = said(hostile, order(f"write_files {tmp_path / 'outside'}"))
    assert outside == "PermissionError"
    assert grow == "OSError"
    assert not Path(folder).exists()


# -- ends


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("exit 0", "parse_crashed"),
        ("exit 3", "parse_crashed"),
        ("follow_null", "parse_crashed"),
        ("write_raw nonsense", "parse_crashed"),
        ('write_raw {"element":{}}', "parse_crashed"),
        ('write_raw {"error":{"code":"worker_lost","detail":""}}', "parse_crashed"),
        ('write_raw {"error":{"code":"encrypted","detail":""}}', "encrypted"),
        # The requested child requests another one again.
        ('write_raw {"wanted":{"profile":"ocr","mime_type":"image/png"}}', "parse_crashed"),
    ],
)
def test_each_end_has_its_code(hostile: GuardedExtractor, order: Order, text: str, code: str):
    assert code_of(hostile, order(text)) == code


def test_a_child_that_the_kernel_kills_had_no_memory(hostile: GuardedExtractor, order: Order):
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(code_of, hostile, order("sleep"))
        wait_until(lambda: processes_in(hostile._folders.root))
        for pid in processes_in(hostile._folders.root):
            os.kill(pid, signal.SIGKILL)
        assert reading.result(20) == "parse_memory"


def test_what_a_parser_says_in_its_exception_stays_in_the_child(
    hostile: GuardedExtractor, order: Order
):
    with pytest.raises(JobError) as caught:
        read_document(hostile, order("raise"))
    assert caught.value.code == "corrupt"
    assert str(caught.value).startswith("KeyError in hostile_zygote line")


def test_forged_metadata_is_refused(hostile: GuardedExtractor, order: Order):
    header = '{"header":{"mime_type":"text/plain","page_count":null,"title":null}}'
    forged = (
        '{"element":{"category":"Text","text":"a","page":null,"depth":null,'
        '"metadata":{"filename":"/etc/passwd"}}}'
    )
    assert code_of(hostile, order(f"write_raw {header}\n{forged}")) == "parse_crashed"


def test_a_run_that_must_stop_leaves_nothing(hostile: GuardedExtractor, order: Order):
    checks = iter(range(100))

    def check() -> None:
        if next(checks) == 3:
            raise DrainError

    began = time.monotonic()
    with pytest.raises(DrainError):
        read_document(hostile, order("sleep"), check=check)
    assert time.monotonic() - began < 3


def test_a_run_that_waits_for_its_turn_can_be_stopped(make_hostile: MakeHostile, order: Order):
    extractor = make_hostile(children=1)
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise DrainError

    with extractor.open(order("sleep_after_header"), file_name="a", check=lambda: None):
        waiting = threading.Timer(0.3, stop.set)
        waiting.start()
        with pytest.raises(DrainError):
            read_document(extractor, order("say"), check=check)
        waiting.join()
    assert_nothing_left(extractor)


def test_an_error_of_the_caller_leaves_nothing(hostile: GuardedExtractor, order: Order):
    with (
        pytest.raises(ZeroDivisionError),
        hostile.open(order("sleep_after_header"), file_name="a", check=lambda: None),
    ):
        raise ZeroDivisionError


def test_a_file_that_is_gone_can_be_tried_again(hostile: GuardedExtractor, tmp_path: Path):
    assert code_of(hostile, tmp_path / "absent") == "internal_error"


# -- isolation


def test_no_packet_leaves_a_child(hostile: GuardedExtractor, order: Order):
    with socket.create_server(("127.0.0.1", 0)) as canary:
        answers = said(hostile, order(f"connect {canary.getsockname()[1]}"))
        canary.setblocking(False)
        with pytest.raises(BlockingIOError):
            canary.accept()
    assert "succeeded" not in answers


def test_documents_full_of_links_reach_nobody(extractor: GuardedExtractor, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as canary:
        url = f"http://127.0.0.1:{canary.getsockname()[1]}/x"
        pages = {
            "a.html": f'<html><img src="{url}"><iframe src="{url}"></iframe><p>Text</p></html>',
            "a.md": f"![image]({url})\n\nText [link]({url})",
            "a.xml": f'<!DOCTYPE a SYSTEM "{url}" [<!ENTITY e SYSTEM "{url}">]><a><b>&e;</b>c</a>',
            "a.eml": f'Subject: x\nContent-Type: text/html\n\n<img src="{url}"><p>Text</p>',
        }
        for name, content in pages.items():
            (tmp_path / name).write_text(content)
            assert read_document(extractor, tmp_path / name).elements
        canary.setblocking(False)
        with pytest.raises(BlockingIOError):
            canary.accept()


def test_a_child_has_no_secrets_and_nothing_open(
    make_hostile: MakeHostile, order: Order, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-canary")
    monkeypatch.setenv("DATABASE_URL", "postgresql://canary")
    extractor = make_hostile()
    environ, descriptors, limits, leads_group = said(extractor, order("describe"))
    assert "canary" not in json.dumps(environ)
    assert set(environ) <= {
        *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "DO_NOT_TRACK"),
        *("SCARF_NO_ANALYTICS", "UNSTRUCTURED_DISABLE_NOTICE"),
        *("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"),
    }
    assert descriptors == [0, 1, 2, 3, 4]
    assert limits == {
        "CPU": [20, 20],
        "FSIZE": [256 * 1024 * 1024] * 2,
        "NOFILE": [64, 64],
        "CORE": [0, 0],
        "NPROC": [0, 0],
    }
    assert leads_group


def test_a_child_cannot_look_into_the_worker(
    hostile: GuardedExtractor, order: Order, tmp_path: Path
):
    if not hostile.isolation["landlock_version"]:
        pytest.skip("the kernel has no Landlock")
    (tmp_path / "other tenant").write_text("secret")
    paths = (f"/proc/{os.getpid()}/environ", "/etc/passwd", str(tmp_path / "order"))
    assert said(hostile, order("open_files " + " ".join(paths))) == ["PermissionError"] * 3
    assert said(hostile, order("execute")) == ["PermissionError"]
    if hostile.isolation["landlock_version"] >= 6:
        pids = f"{os.getpid()} {hostile.zygote_pid}"
        assert said(hostile, order(f"signal_others {pids}")) == ["PermissionError"] * 2


@pytest.mark.skipif(os.uname().machine not in {"x86_64", "aarch64"}, reason="no filter for it")
def test_a_child_starts_no_process(hostile: GuardedExtractor, order: Order):
    assert said(hostile, order("fork")) == ["PermissionError"]


@pytest.mark.skipif(os.geteuid() != 0, reason="RLIMIT_NPROC binds all but root")
@pytest.mark.parametrize("missing", [(), ("--without-namespaces",)])
def test_descendants_that_ran_away_are_ended(
    make_hostile: MakeHostile, order: Order, monkeypatch: pytest.MonkeyPatch, missing: Sequence[str]
):
    monkeypatch.setattr(supervisor, "ZYGOTE", (*HOSTILE, "--without-seccomp", *missing))
    extractor = make_hostile()
    assert said(extractor, order("run_away"))
    assert_nothing_left(extractor)


# -- sharing the cores


def policies_below(pid: int | None) -> list[int]:
    """The scheduling policies of a process's descendants."""
    found, waiting = [], children_of(pid)
    while waiting:
        member = waiting.pop()
        with suppress(OSError):
            found.append(os.sched_getscheduler(member))
        waiting += children_of(member)
    return found


def test_a_child_that_takes_long_gives_way(make_hostile: MakeHostile, order: Order):
    extractor = make_hostile(timeout_seconds=60, patience=100)
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise DrainError

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_document, extractor, order("spin"), check=check)
        wait_until(lambda: os.SCHED_IDLE in policies_below(extractor.zygote_pid), 60)
        stop.set()
        with pytest.raises(DrainError):
            reading.result(20)
    assert_nothing_left(extractor)


def test_a_child_that_has_given_way_cannot_come_back(make_hostile: MakeHostile, order: Order):
    extractor = make_hostile(timeout_seconds=60, patience=100)
    gave_way, *answers = said(extractor, order("come_back"))
    assert gave_way == os.SCHED_IDLE
    assert answers == ["PermissionError"] * 2


def test_a_child_that_takes_little_is_left_alone(hostile: GuardedExtractor, order: Order):
    with hostile.open(order("sleep_after_header"), file_name="a", check=lambda: None):
        threading.Event().wait(1.5)  # longer than between two looks
        assert set(policies_below(hostile.zygote_pid)) == {os.SCHED_OTHER}


def test_a_child_that_has_given_way_ends_while_others_keep_coming(
    make_hostile: MakeHostile, order: Order, monkeypatch: pytest.MonkeyPatch
):
    """Each of the others uses less than what demotes it, and the next one comes at once."""
    monkeypatch.setattr(supervisor, "ZYGOTE", (*HOSTILE, "--impatient"))
    extractor = make_hostile(children=4, timeout_seconds=600, patience=100)
    stop = threading.Event()
    passed = Counter[str]()

    def read(text: str, owner: str) -> None:
        path = order(text)
        with (
            suppress(JobError),  # it is empty
            extractor.open(path, file_name="a", check=lambda: None, owner=owner) as extraction,
        ):
            list(extraction.windows())
        passed[owner] += 1

    def keep_coming(owner: str) -> None:
        while not stop.is_set():
            read("burn 0.5", owner)

    # One core for all of them, so that nobody is served beside the others.
    assert extractor.zygote_pid
    os.sched_setaffinity(extractor.zygote_pid, {min(os.sched_getaffinity(0))})
    with ThreadPoolExecutor(4) as pool:
        try:
            long = pool.submit(read, "burn_demoted 0.8", "slow")
            wait_until(lambda: os.SCHED_IDLE in policies_below(extractor.zygote_pid), 60)
            streams = [pool.submit(keep_coming, owner) for owner in ("anna", "berta", "carla")]
            long.result(180)
        finally:
            stop.set()
        for stream in streams:
            stream.result(60)
    assert min(passed[owner] for owner in ("anna", "berta", "carla")) >= 1
    assert_nothing_left(extractor)


def test_endless_documents_of_one_owner_leave_room_for_anothers(
    make_hostile: MakeHostile, tmp_path: Path
):
    """With any number of them: none ends before the other owner's documents are read."""
    extractor = make_hostile(children=6, timeout_seconds=600, patience=100)
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise DrainError

    def read(order: str, owner: str) -> None:
        # A file of its own: a shared one would be empty at times while others write it.
        path = tmp_path / uuid4().hex
        path.write_text(order)
        with extractor.open(path, file_name="a", check=check, owner=owner) as extraction:
            list(extraction.windows())

    with ThreadPoolExecutor(40) as pool:
        endless = [pool.submit(read, "spin", "mallory") for _ in range(30)]
        try:
            wait_until(lambda: len(children_of(extractor.zygote_pid)) == 4, 60)
            others = [pool.submit(read, "say 1", owner) for owner in ("anna", "berta") * 5]
            for other in others:
                other.result(60)
            assert not any(reading.done() for reading in endless)
        finally:
            stop.set()
        assert all(isinstance(reading.exception(20), DrainError) for reading in endless)
    assert_nothing_left(extractor)


class Recorded:
    """The CPU time of children by class of owner."""

    def __init__(self) -> None:
        self.classes: list[str] = []
        self.seconds = 0.0

    def record(self, metric: metrics.Metric, value: float, labels: dict[str, str]) -> None:
        if metric is metrics.CHILD_SECONDS:
            self.classes.append(labels["owner_class"])
            self.seconds += value


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    made = Recorded()
    metrics.use(made)
    yield made
    metrics.use(None)


def test_it_is_told_by_class_whether_one_owner_takes_the_children(
    make_hostile: MakeHostile, order: Order, recorded: Recorded
):
    extractor = make_hostile()

    def burn(seconds: float, owner: str) -> None:
        path = order(f"burn {seconds}")
        with (
            suppress(JobError),  # it is empty
            extractor.open(path, file_name="a", check=lambda: None, owner=owner) as extraction,
        ):
            list(extraction.windows())

    def held(owner: str) -> AbstractContextManager[object]:
        path = order("sleep_after_header")
        return extractor.open(path, file_name="a", check=lambda: None, owner=owner)

    burn(0.3, "anna")
    assert recorded.classes == ["only"]
    with held("berta"):
        burn(0.3, "anna")
    with held("anna"):
        burn(0.1, "berta")
    # Those that were held met nobody when they began, nor when they ended.
    assert recorded.classes == ["only", "largest", "only", "other", "only"]
    assert recorded.seconds > 0.6


def test_more_children_than_cores_only_where_there_is_memory(
    make_hostile: MakeHostile, order: Order, monkeypatch: pytest.MonkeyPatch
):
    free = [0]
    monkeypatch.setattr(guard, "available_bytes", lambda: free[0])
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    extractor = make_hostile(children=4)
    path = order("sleep_after_header")
    with (
        extractor.open(path, file_name="a", check=lambda: None, owner="anna"),
        ThreadPoolExecutor(1) as pool,
    ):
        stop = threading.Event()

        def check() -> None:
            if stop.is_set():
                raise DrainError

        waiting = pool.submit(read_document, extractor, path, check=check)
        wait_until(lambda: extractor._slots.waits)
        assert len(children_of(extractor.zygote_pid)) == 1
        free[0] = 2**40
        wait_until(lambda: len(children_of(extractor.zygote_pid)) == 2)
        stop.set()
        assert isinstance(waiting.exception(20), DrainError)
    assert_nothing_left(extractor)


# -- the zygote


def test_a_killed_zygote_fails_its_documents_for_another_try(
    hostile: GuardedExtractor, order: Order
):
    first = pid_of(hostile)
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(code_of, hostile, order("sleep"))
        wait_until(lambda: children_of(first))
        (child,) = children_of(first)
        os.kill(first, signal.SIGKILL)
        assert reading.result(20) == "internal_error"
    wait_until(lambda: not is_running(child))
    assert said(hostile, order("say 1")) == ["1"]
    assert hostile.zygote_pid != first


def test_the_real_zygote_starts_again(extractor: GuardedExtractor, tmp_path: Path):
    path = tmp_path / "a.docx"
    path.write_bytes(documents.make_docx())
    before = read_document(extractor, path)
    os.kill(pid_of(extractor), signal.SIGKILL)
    wait_until(lambda: not extractor.ready())
    assert read_document(extractor, path) == before


def test_a_zygote_that_does_not_answer_is_replaced(
    hostile: GuardedExtractor, order: Order, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(child_reader, "_REAP_SECONDS", 1.0)
    first = pid_of(hostile)
    with hostile.open(order("sleep_after_header"), file_name="a", check=lambda: None):
        os.kill(first, signal.SIGSTOP)
    assert said(hostile, order("say 1")) == ["1"]
    assert hostile.zygote_pid != first


def test_a_zygote_that_does_not_fork_is_no_fault_of_the_document(
    make_hostile: MakeHostile, order: Order, monkeypatch: pytest.MonkeyPatch
):
    """Its time has not started: it is tried again, and no attempt is counted."""
    monkeypatch.setattr(child_reader, "FORK_SECONDS", 1.5)
    extractor = make_hostile(timeout_seconds=1)
    first = pid_of(extractor)
    os.kill(first, signal.SIGSTOP)
    with pytest.raises(JobError) as caught:
        said(extractor, order("say"))
    assert (caught.value.code, caught.value.counted) == ("internal_error", False)
    assert said(extractor, order("say 1")) == ["1"]
    assert extractor.zygote_pid != first


def test_it_outlives_the_thread_that_made_it(make_hostile: MakeHostile, order: Order):
    with ThreadPoolExecutor(1) as pool:
        extractor = pool.submit(make_hostile).result()
    assert said(extractor, order("say 1")) == ["1"]


def test_closing_ends_everything(make_hostile: MakeHostile, order: Order):
    extractor = make_hostile()
    root, zygote = extractor._folders.root, pid_of(extractor)
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(code_of, extractor, order("sleep"))
        wait_until(lambda: children_of(zygote))
        (child,) = children_of(zygote)
        extractor.close()
        assert reading.result(20) == "internal_error"
    assert not is_running(zygote)
    wait_until(lambda: not is_running(child))
    assert not root.exists()
    assert code_of(extractor, order("say")) == "internal_error"
    extractor.close()


_WORKER = """
import sys, threading
from pathlib import Path
from docmill.worker.extraction import ExtractionLimits, GuardedExtractor
from docmill.worker.extraction.parent import supervisor
from docmill.worker.log import configure_logging
configure_logging(log_format="json", level="error")
supervisor.ZYGOTE = tuple(sys.argv[3:])
extractor = GuardedExtractor(ExtractionLimits(children=1), temp_dir=Path(sys.argv[1]))
with extractor.open(Path(sys.argv[2]), file_name="a", check=lambda: None):
    print(extractor.zygote_pid, extractor._folders.root, flush=True)
    threading.Event().wait()
"""


def test_a_killed_worker_leaves_no_process_and_its_folder_to_the_next(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "worker"
    folder.mkdir()
    path = order("sleep_after_header")
    with subprocess.Popen(
        [sys.executable, "-I", "-c", _WORKER, folder, path, *HOSTILE],
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdout
        zygote, root = worker.stdout.readline().split()
        (child,) = children_of(int(zygote))
        worker.kill()
    wait_until(lambda: not is_running(int(zygote)) and not is_running(child))
    assert Path(root).exists()
    monkeypatch.setattr(folders, "_YOUNG_SECONDS", 0)
    folders.PrivateFolders(folder).close()
    assert list(folder.iterdir()) == []


def test_an_ordinary_user_gets_the_same_isolation(order: Order, tmp_path: Path):
    # As root, become nobody in a namespace that maps our files to nobody, so no mode must change.
    become = ["unshare", "--user", "--map-user=65534", "--map-group=65534"]
    output = subprocess.run(
        [
            *(become if os.geteuid() == 0 else []),
            *(
                sys.executable,
                "-I",
                "-c",
                _ORDINARY,
                str(tmp_path),
                str(order("execute")),
                *HOSTILE,
            ),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if output.returncode != 0 and os.geteuid() == 0:
        pytest.skip("no user namespaces")
    user, isolation, answer = json.loads(output.stdout)
    assert user != 0
    assert isolation["no_network"]
    assert isolation["hidden_processes"]
    assert answer == '"PermissionError"'


_ORDINARY = """
import json, os, sys
from pathlib import Path
from docmill.worker.extraction import ExtractionLimits, GuardedExtractor
from docmill.worker.extraction.parent import supervisor
from docmill.worker.log import configure_logging
configure_logging(log_format="json", level="error")
supervisor.ZYGOTE = tuple(sys.argv[3:])
extractor = GuardedExtractor(ExtractionLimits(children=1), temp_dir=Path(sys.argv[1]))
with extractor.open(Path(sys.argv[2]), file_name="a", check=lambda: None) as extraction:
    (window,) = extraction.windows()
print(json.dumps([os.geteuid(), extractor.isolation, window.elements[0].text]))
extractor.close()
"""


# -- many


def test_documents_of_all_kinds_at_once(extractor: GuardedExtractor, tmp_path: Path):
    made = {
        "a.docx": documents.make_docx(),
        "a.pptx": documents.make_pptx(),
        "a.xlsx": documents.make_xlsx(),
        "a.eml": documents.make_eml(),
        "a.pdf": documents.make_pdf(["A page."]),
    }
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in made]
    with ThreadPoolExecutor(50) as pool:
        read = list(pool.map(lambda path: read_document(extractor, path), paths * 10))
    for path, document in zip(paths * 10, read, strict=True):
        assert document == read[paths.index(path)]
    assert_nothing_left(extractor)


def test_it_is_safe_in_256_threads(hostile: GuardedExtractor, tmp_path: Path):
    def one(number: int) -> list[Any]:
        path = tmp_path / f"order{number}"
        path.write_text(f"say {number}")
        return said(hostile, path)

    running: list[int] = []
    with ThreadPoolExecutor(256) as pool:
        jobs = [pool.submit(one, number) for number in range(256)]
        while not all(job.done() for job in jobs):
            running.append(len(children_of(hostile.zygote_pid)))
    assert [job.result() for job in jobs] == [[str(number)] for number in range(256)]
    assert max(running) <= 4


# -- hostile documents for the real parsers


@pytest.mark.parametrize(
    ("name", "content", "seconds", "code"),
    [
        ("a.md", SLOW_MARKDOWN, 3, "parse_timeout"),
        ("a.json", "[" + "0," * 30_000_000 + "0]", 60, "parse_memory"),
    ],
    ids=["too long", "too much"],
)
def test_documents_that_take_a_parser_too_long_or_too_much(
    extractor: GuardedExtractor,
    tmp_path: Path,
    name: str,
    content: str,
    seconds: float,
    code: str,
):
    path = tmp_path / name
    path.write_text(content)
    limits = {"timeout_seconds": seconds, "patience": 100, "memory_bytes": 256 * 1024 * 1024}
    with limited(extractor, **limits):
        assert code_of(extractor, path) == code
    assert_nothing_left(extractor)


def test_a_zygote_that_is_not_wanted_yet_is_started_by_the_first_document(tmp_path: Path) -> None:
    lazy = GuardedExtractor(ExtractionLimits(children=1), temp_dir=tmp_path, eager=False)
    try:
        assert lazy.zygote_pid is None
        (tmp_path / "a.txt").write_text("It is here now.")
        with lazy.open(tmp_path / "a.txt", file_name="a.txt", check=lambda: None) as extraction:
            texts = [e.text for window in extraction.windows() for e in window.elements]
        assert texts == ["It is here now."]
        assert lazy.zygote_pid is not None
    finally:
        lazy.close()
