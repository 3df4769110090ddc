"""Code in a child achieves nothing: each attack really runs, and is judged from outside."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from docmill.worker.errors import JobError
from docmill.worker.extraction import GuardedExtractor
from docmill.worker.extraction.parent import supervisor
from docmill.worker.extraction.zygote import space
from tests.faults.mutants import VARIABLE
from tests.integration.extraction.conftest import (
    HOSTILE,
    MIB,
    assert_nothing_left,
    children_of,
    code_of,
    condition_of,
    is_running,
    left_memory,
    most_taken,
    pid_of,
    processes_in,
    read_document,
    state_of,
    wait_until,
)
from tests.integration.extraction.test_guard import MakeHostile, Order, said

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the attacks are native")

EVERYWHERE = [
    pytest.param((), id="all"),
    pytest.param(("--without-namespaces",), id="no namespaces"),
]
#: Where the kernel grants a PID namespace, that is enough.
BY_PID = [*EVERYWHERE, pytest.param(("--without-seccomp",), id="no filter")]


@pytest.fixture
def missing(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Protections that are not available."""
    given: tuple[str, ...] = getattr(request, "param", ())
    return given


@pytest.fixture
def taken_over(
    make_hostile: MakeHostile, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
) -> Iterator[GuardedExtractor]:
    """An extractor whose children attack as the document says."""
    monkeypatch.setattr(supervisor, "ZYGOTE", (*HOSTILE, *missing))
    made = make_hostile()
    if not made.isolation["landlock_version"]:
        pytest.skip("the kernel has no Landlock")
    if "--without-seccomp" in missing and not made.isolation["hidden_processes"]:
        pytest.skip("the kernel grants no PID namespace")
    yield made
    if made._folders.root.exists():
        assert_nothing_left(made)


@pytest.fixture
def attack(taken_over: GuardedExtractor, order: Order) -> Callable[..., list[str]]:
    """Let a child attack; return the errors that it met."""

    def run(name: str, *arguments: object) -> list[str]:
        return said(taken_over, order(" ".join(["attack", name, *map(str, arguments)])))

    return run


Attack = Callable[..., list[str]]


# -- other processes


@pytest.mark.parametrize("missing", BY_PID, indirect=True)
@pytest.mark.parametrize("name", ["limit", "slow_down", "look_into"])
def test_a_process_is_as_it_was(
    attack: Attack, taken_over: GuardedExtractor, victim: int, name: str
) -> None:
    pids = [victim, os.getpid(), pid_of(taken_over)]
    before = [condition_of(pid) for pid in pids]
    for pid in pids:
        attack(name, pid)
    assert [condition_of(pid) for pid in pids] == before


@pytest.mark.parametrize("missing", EVERYWHERE, indirect=True)
@pytest.mark.parametrize("name", ["limit", "slow_down", "look_into"])
def test_a_call_about_another_process_is_refused(attack: Attack, victim: int, name: str) -> None:
    assert set(attack(name, victim)) <= {"EPERM", "EACCES"}


@pytest.mark.parametrize("missing", BY_PID, indirect=True)
def test_nobody_hears_a_signal(
    attack: Attack, taken_over: GuardedExtractor, victim: int, missing: tuple[str, ...]
) -> None:
    zygote = pid_of(taken_over)
    heard = attack("send_signals", victim, zygote, os.getppid())
    assert is_running(victim)
    assert is_running(zygote)
    if not missing:
        assert set(heard) == {"EPERM"}


@pytest.mark.parametrize("missing", EVERYWHERE, indirect=True)
def test_its_keeper_hears_none_either(attack: Attack) -> None:
    assert set(attack("send_signals_to_its_keeper")) == {"EPERM"}


@pytest.mark.parametrize("missing", EVERYWHERE, indirect=True)
def test_nobody_hears_a_signal_that_a_file_sends(attack: Attack, victim: int) -> None:
    assert set(attack("send_signals_by_files", victim)) == {"EPERM"}
    assert is_running(victim)


@pytest.mark.parametrize("missing", EVERYWHERE, indirect=True)
def test_it_starts_nothing(attack: Attack) -> None:
    assert set(attack("multiply")) <= {"EPERM", "ENOSYS"}


@pytest.mark.parametrize("missing", BY_PID, indirect=True)
@pytest.mark.parametrize("what", ["zygote", "extraction"])
def test_it_dies_with_those_above_it(taken_over: GuardedExtractor, order: Order, what: str) -> None:
    """Even after it asked the kernel for the opposite."""
    root, zygote = taken_over._folders.root, pid_of(taken_over)
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(code_of, taken_over, order("attack wait_for_the_end"))
        wait_until(lambda: processes_in(root))
        if what == "extraction":
            taken_over.close()
        else:
            os.kill(zygote, signal.SIGKILL)
        assert reading.result(20) == "internal_error"
    wait_until(lambda: not processes_in(root))


def test_it_cannot_hide_from_its_keeper(attack: Attack) -> None:
    assert set(attack("stay")) == {"EPERM"}


# -- files


@pytest.fixture
def readable() -> Iterator[Path]:
    """A file that children may read, because it is one of the interpreter's."""
    with tempfile.TemporaryDirectory(dir=Path(sys.prefix, "lib")) as folder:
        path = Path(folder, "file")
        path.write_text("read me")
        yield path


@pytest.mark.parametrize("missing", EVERYWHERE, indirect=True)
def test_files_are_as_they_were(attack: Attack, tmp_path: Path, readable: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    for path in (secret, readable):
        os.setxattr(path, "user.kept", b"x")
    before = [state_of(secret), state_of(readable)]
    answers = attack("change_files", secret, readable)
    assert [state_of(secret), state_of(readable)] == before
    assert "done" not in answers


@pytest.mark.parametrize("missing", EVERYWHERE, indirect=True)
def test_nothing_is_written_elsewhere(attack: Attack, tmp_path: Path) -> None:
    folders = [tmp_path, Path.home(), *map(Path, ("/tmp", "/var/tmp", "/dev/shm", "/run"))]
    assert "done" not in attack("write_elsewhere", *folders)
    assert not [folder for folder in folders if (folder / "docmill-attack").exists()]


# -- shared resources


@pytest.mark.parametrize("missing", EVERYWHERE, indirect=True)
def test_no_memory_is_left_behind(attack: Attack) -> None:
    assert set(attack("leave_memory")) == {"EPERM"}
    assert not left_memory()


@pytest.mark.parametrize("missing", EVERYWHERE, indirect=True)
def test_the_kernel_answers_nothing_else(attack: Attack) -> None:
    assert set(attack("reach_the_kernel")) <= {"EPERM", "ENOSYS", errno.errorcode[errno.EOPNOTSUPP]}


def test_no_other_interface_leads_past_the_filter(
    taken_over: GuardedExtractor, order: Order
) -> None:
    assert code_of(taken_over, order("attack use_another_interface")) == "parse_crashed"


# -- space


@contextmanager
def mounted(folder: Path, mebibytes: int) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    options = f"size={mebibytes}m,mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "docmill", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("missing", EVERYWHERE, indirect=True)
@pytest.mark.parametrize(
    "name",
    [
        *("many_files", "nameless_files", "files_that_never_had_a_name", "mapped_files"),
        *("files_of_which_a_page_is_mapped", "deep_files", "closed_files", "countless_files"),
    ],
)
def test_a_child_that_fills_the_disk_is_ended(
    make_hostile: MakeHostile,
    order: Order,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    missing: tuple[str, ...],
    name: str,
) -> None:
    monkeypatch.setattr(supervisor, "ZYGOTE", (*HOSTILE, *missing))
    disk = tmp_path / "extraction0"
    with mounted(disk, 4096) if os.geteuid() == 0 else nullcontext():
        disk.mkdir(exist_ok=True)
        monkeypatch.setattr(Path, "mkdir", _mkdir_once)
        extractor = make_hostile(memory_bytes=2048 * MIB, timeout_seconds=120)
        with most_taken(disk) as peak:
            assert code_of(extractor, order(f"attack {name}")) == "parse_crashed"
        assert_nothing_left(extractor)
        if os.geteuid() == 0:  # only with a disk of its own, because others write to the real one
            print(f"{name}: {peak[0] / MIB:.0f} MiB at most")
            assert peak[0] < 4 * space.MAX_BYTES, "all of it was written"
        extractor.close()


_mkdir = Path.mkdir


def _mkdir_once(self: Path, *arguments: Any, **keywords: Any) -> None:
    """The disk is mounted where the extractor makes its folder."""
    _mkdir(self, *arguments, **{**keywords, "exist_ok": True})


def test_what_a_child_leaves_is_removed(taken_over: GuardedExtractor, order: Order) -> None:
    with suppress(JobError):  # it may be ended before it has finished
        read_document(taken_over, order("attack leave_a_well"))
    assert_nothing_left(taken_over)


# -- the death of processes


#: For a mutant of the worker: see tests/faults/mutants.py.
_MUTATED = """
import sys
sys.path.insert(0, {root!r})
from tests.faults.mutants import mutate_module
mutate_module({name!r})
"""
_ORPHANING = """
import ctypes, os, signal, sys, threading, time
from pathlib import Path
from docmill.worker.extraction import ExtractionLimits, GuardedExtractor, adopt_orphans
from docmill.worker.extraction.parent import supervisor
from docmill.worker.log import configure_logging
configure_logging(log_format="json", level="critical")
supervisor.ZYGOTE = tuple(sys.argv[3:])
adopt_orphans()
extractor = GuardedExtractor(ExtractionLimits(children=1), temp_dir=Path(sys.argv[1]))
def read():
    try:
        with extractor.open(Path(sys.argv[2]), file_name="a", check=lambda: None):
            pass
    except Exception:
        pass
reading = threading.Thread(target=read)
reading.start()
def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
zygote = None
while not (zygote and children(zygote) and children(children(zygote)[0])):
    zygote = extractor.zygote_pid
    time.sleep(0.01)
while not any(handle.pid for handle in extractor._supervisor._running.values()):
    time.sleep(0.01)
(keeper,) = children(zygote)
(child,) = children(keeper)
for pid in (zygote, keeper):
    os.kill(pid, signal.SIGSTOP)
os.kill(keeper, signal.SIGKILL)
os.kill(zygote, signal.SIGKILL)
reading.join()
extractor.close()
print(keeper, child, *(p for t in Path("/proc/self/task").iterdir() for p in children(t.name)))
"""


def test_the_worker_ends_what_its_zygote_and_a_keeper_leave(order: Order, tmp_path: Path) -> None:
    """Both are killed at once, before they can end their descendants."""
    folder = tmp_path / "worker"
    folder.mkdir()
    path = order("attack wait_for_the_end")
    name, root = os.environ.get(VARIABLE), str(Path(__file__).parents[3])
    begin = _MUTATED.format(root=root, name=name) if name else ""
    output = subprocess.run(
        [
            *(sys.executable, "-I", "-c", begin + _ORPHANING, folder, path),
            *(*HOSTILE, "--without-namespaces", "--without-seccomp"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=180,
    ).stdout
    keeper, child, *others = map(int, output.split())
    assert not is_running(child)
    assert not is_running(keeper)
    assert others == [], "zombies are left"
    shutil.rmtree(folder)


def test_a_child_that_may_be_too_much_has_a_keeper_beside_it(
    taken_over: GuardedExtractor, order: Order
) -> None:
    with taken_over.open(order("burn 10"), file_name="a", check=lambda: None):
        wait_until(lambda: len(children_of(taken_over.zygote_pid)) == 2)
        child, keeper = children_of(taken_over.zygote_pid)
        assert children_of(child) == children_of(keeper) == []
        own = Path("/proc/self/ns/pid").readlink()
        assert Path(f"/proc/{child}/ns/pid").readlink() != own
        assert Path(f"/proc/{keeper}/ns/pid").readlink() == own
        for pid in (child, keeper):
            wait_until(partial(_has_no_privilege, pid))
        assert "Seccomp:\t2" in Path(f"/proc/{child}/status").read_text()
        os.kill(keeper, signal.SIGKILL)
        wait_until(lambda: not children_of(taken_over.zygote_pid))


def _has_no_privilege(pid: int) -> bool:
    return "CapEff:\t0000000000000000" in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.parametrize("missing", [("--without-seccomp",)], indirect=True)
def test_a_child_that_may_start_processes_has_a_keeper_above_it(
    taken_over: GuardedExtractor, order: Order
) -> None:
    with taken_over.open(order("sleep_after_header"), file_name="a", check=lambda: None):
        (keeper,) = children_of(taken_over.zygote_pid)
        (child,) = children_of(keeper)
        assert Path(f"/proc/{child}/ns/pid").readlink() != Path("/proc/self/ns/pid").readlink()
        assert Path(f"/proc/{keeper}/ns/pid").readlink() == Path(f"/proc/{child}/ns/pid").readlink()
        assert _has_no_privilege(keeper)
