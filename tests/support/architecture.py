"""Parses ARCHITECTURE.md, so that tests can compare it with the code."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from tests.support.pages import ROOT

PAGE: Final = ROOT / "ARCHITECTURE.md"
_DIAGRAM: Final = re.compile(r"^```mermaid\nstateDiagram-v2\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ARROW: Final = re.compile(r"^ *(\S+) --> (\S+?)(?:: (.+))?$")


class Step(NamedTuple):
    """A step of a job from one state to another; `[*]` is before it exists."""

    before: str
    function: str
    after: str


def diagram(page: str) -> str:
    """The drawing of a job's states."""
    found = _DIAGRAM.findall(page)
    assert len(found) == 1, "the page has one diagram of states"
    return str(found[0])


def drawn_steps(drawing: str) -> set[Step]:
    """Every arrow, once for each function in its label."""
    steps = list(_steps(drawing))
    assert len(steps) == len(set(steps)), "a step is drawn twice"
    return set(steps)


def _steps(drawing: str) -> Iterator[Step]:
    for line in drawing.splitlines():
        if "-->" not in line:
            continue
        arrow = _ARROW.match(line)
        assert arrow is not None, line
        before, after, label = arrow.groups()
        assert label, f"nothing is said to take this way: {line}"
        yield from (
            Step(before, name, after) for name in re.findall(r"\w+", label.replace("<br/>", " "))
        )


def section(page: str, title: str) -> str:
    """The text below a heading of the second level."""
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    named = dict(zip(parts[1::2], parts[2::2], strict=True))
    return named[title]
