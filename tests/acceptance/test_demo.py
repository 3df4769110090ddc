"""`docmill demo`: what it prints, and that it leaves nothing."""

import signal
from pathlib import Path

import pytest

from tests.support.shell import Shell, descendants, is_running


def test_the_demo_holds_what_it_claims(tmp_path: Path) -> None:
    said = Shell(tmp_path).in_terminal("demo")
    assert "NOT TRUE" not in said
    assert "Bob sees 0 of Alice's 5 documents and 0 of their chunks" in said
    assert list(tmp_path.iterdir()) == []


def test_the_demo_takes_ones_own_documents(tmp_path: Path) -> None:
    documents = tmp_path / "mine"
    documents.mkdir()
    (documents / "garden.txt").write_text(
        "The roses are cut in March, when the forsythia flowers. " * 4
    )
    (documents / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing more")
    for number in range(3):
        # Lines that a model of this size cannot distinguish.
        (documents / f"{number}.log").write_text(
            "".join(f"12:{minute:02} GET /{number} 200\n" for minute in range(60))
        )
    said = Shell(tmp_path).run("demo", "mine")
    assert "4 of 5 are searchable" in said
    assert "Bob sees 0 of Alice's 5 documents" in said


@pytest.mark.parametrize(
    ("shown", "number"),
    [("== Starting", signal.SIGINT), ("== Alice searches", signal.SIGTERM)],
)
def test_a_demo_can_be_interrupted_and_leaves_nothing(
    tmp_path: Path, shown: str, number: signal.Signals
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with Shell(tmp_path).terminal("demo", TMPDIR=str(temporary)) as terminal:
        terminal.wait_for(shown)
        started = descendants(terminal.process.pid)
        terminal.interrupt(number)
        assert "docmill: interrupted" in terminal.ended(128 + number)
    assert not any(is_running(pid) for pid in started)
    assert list(temporary.iterdir()) == []
