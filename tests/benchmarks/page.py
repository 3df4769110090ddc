"""Writes docs/benchmarks.md below its mark, and its plots, from what benchmarks have recorded.

`make benchmarks`. The text above the mark and what is said of each result are written by hand: the
latter in docs/benchmarks/NAME.md.
"""

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.benchmarks.records import FOLDER, Case, Record, load

PAGE: Final = FOLDER.parent / "benchmarks.md"
MARK: Final = "<!-- Below: python -m tests.benchmarks.page -->"
#: In the order of the page.
NAMES: Final = ("end_to_end", "writer", "edit", "growth")
_ROW, _LEFT, _BARS = 20, 250, 330
_COLOURS: Final = {"docmill": "#2f6fb5"}


def records(folder: Path = FOLDER) -> list[Record]:
    """Those that are there, in the order of the page."""
    paths = [folder / f"{name}.json" for name in NAMES]
    return [load(path) for path in paths if path.exists()]


def body(found: list[Record]) -> str:
    """Everything below the mark."""
    return "\n".join(part for record in found for part in _section(record))


def _section(record: Record) -> Iterator[str]:
    yield f"## {record.title}: `make bench-{record.name.replace('_', '-')}`\n"
    yield record.text()
    for number, (group, _) in enumerate(_groups(record)):
        yield f"![{group}](benchmarks/{record.name}-{number}.svg)\n"
    note = FOLDER / f"{record.name}.md"
    if note.exists():
        yield note.read_text()


def _groups(record: Record) -> list[tuple[str, list[Case]]]:
    """Those that a plot shows: with something to compare."""
    return [(group, cases) for group, cases in record.groups() if len(cases) > 1]


def plot(group: str, cases: list[Case]) -> str:
    """A bar for each median, and a line from the least to the most."""
    width, height = _LEFT + _BARS + 130, _ROW * len(cases) + 40
    most = max(max(case.values) for case in cases) or 1
    parts = [f'<text x="8" y="16" font-weight="bold">{html.escape(group)}</text>']
    for place, case in enumerate(cases):
        parts += _bar(case, 26 + place * _ROW, most)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _bar(case: Case, top: int, most: float) -> Iterator[str]:
    middle = top + _ROW / 2

    def at(figure: float) -> float:
        return round(_LEFT + _BARS * figure / most, 1)

    colour = _COLOURS.get(case.name, "#b8c4d0")
    end = at(case.median)
    name = html.escape(case.name)
    yield f'<text x="{_LEFT - 8}" y="{middle + 4}" text-anchor="end">{name}</text>'
    yield (
        f'<rect x="{_LEFT}" y="{top + 3}" width="{round(end - _LEFT, 1)}" height="{_ROW - 6}" '
        f'fill="{colour}"/>'
    )
    yield f'<path d="M{at(min(case.values))} {middle}H{at(max(case.values))}" stroke="black"/>'
    label = f"{case.median:.3g} {html.escape(case.unit)}"
    yield f'<text x="{at(max(case.values)) + 6}" y="{middle + 4}">{label}</text>'


def main() -> None:
    """Write the page and the plots."""
    found = records()
    for old in FOLDER.glob("*.svg"):
        old.unlink()
    for record in found:
        for number, (group, cases) in enumerate(_groups(record)):
            (FOLDER / f"{record.name}-{number}.svg").write_text(plot(group, cases))
    PAGE.write_text(PAGE.read_text().split(MARK)[0] + MARK + "\n\n" + body(found))


if __name__ == "__main__":
    main()
