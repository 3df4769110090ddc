"""What the end of a child means for its document."""

import signal
import subprocess
import sys

import pytest

from docmill.worker.extraction.parent.supervisor import Ending, code_of_ending
from docmill.worker.extraction.shared.protocol import Limits

MIB = 1024 * 1024
LIMITS = Limits(memory_bytes=1000 * MIB, cpu_seconds=10)


def code(status: int, cpu_seconds: float = 1, resident_mib: int = 300) -> str:
    return code_of_ending(Ending(status, cpu_seconds, resident_mib * MIB), LIMITS, 250 * MIB)


@pytest.mark.parametrize(
    ("status", "cpu_seconds", "resident_mib", "expected"),
    [
        (signal.SIGKILL, 10.02, 300, "parse_timeout"),
        (signal.SIGXCPU, 10.02, 300, "parse_timeout"),
        (signal.SIGKILL, 1, 300, "parse_memory"),
        (signal.SIGSEGV, 1, 300, "parse_crashed"),
        (signal.SIGABRT, 1, 900, "parse_memory"),
        (signal.SIGSYS, 1, 300, "parse_crashed"),
        (70 << 8, 1, 300, "parse_crashed"),
        (0, 1, 300, "parse_crashed"),
    ],
)
def test_each_end_has_its_code(status, cpu_seconds, resident_mib, expected):
    assert code(int(status), cpu_seconds, resident_mib) == expected


def test_a_child_that_had_started_too_many_processes_has_not_used_up_memory():
    ending = Ending(int(signal.SIGKILL), 0.1, 300 * MIB, outgrown=True)
    assert code_of_ending(ending, LIMITS, 250 * MIB) == "parse_crashed"


def test_the_worker_loads_no_parser():
    program = (
        "import sys, docmill.worker.extraction; print(*{m.split('.')[0] for m in sys.modules})"
    )
    loaded = subprocess.check_output([sys.executable, "-I", "-c", program], text=True).split()
    parsers = {"unstructured", "spacy", "pypdfium2", "pandas", "lxml", "docx", "pptx", "openpyxl"}
    parsers |= {"olefile", "chardet"}
    assert not parsers & set(loaded)
