"""Functions stay short enough to see as a whole."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).parents[2]
PARTS = ("worker", "tasks", "embedded", "docmill/cli", "docmill/mcp")

#: Lines, with signature and docstring.
MOST_MEDIAN, MOST_P90, MOST = 7, 20, 60


def sizes() -> Iterator[tuple[int, str]]:
    for part in PARTS:
        for path in sorted((ROOT / part).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    assert node.end_lineno is not None
                    lines = node.end_lineno - node.lineno + 1
                    yield lines, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def test_functions_are_short() -> None:
    found = sorted(sizes())
    lines = [count for count, _ in found]
    assert len(lines) > 1000
    assert median(lines) <= MOST_MEDIAN
    assert quantiles(lines, n=10)[-1] <= MOST_P90
    assert [place for count, place in found if count > MOST] == []
