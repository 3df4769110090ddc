"""Makes docs/evaluation.md and its plots from the stored figures.

python -m tests.eval.page
"""

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.eval.measures import MEASURES
from tests.eval.results import kept
from tests.eval.search import DEFAULT, METHODS

PAGE: Final = Path(__file__).parents[2] / "docs" / "evaluation.md"
PLOTS: Final = PAGE.with_name("evaluation")
MARK: Final = "<!-- made by: python -m tests.eval.page -->"
#: The methods in the table by groups.
_SHOWN: Final = ("vector", "words", DEFAULT, "RRF")
#: Colour of a bar: grey for the lists, blue for their combinations, darker for the default.
_COLOURS: Final = {"vector": "#9aa0a6", "words": "#c3c7cb", DEFAULT: "#1a5fb4"}

Result = Mapping[str, Any]


def tables() -> str:
    """All tables as Markdown, each set under a heading."""
    return "\n".join(line for name, results in kept().items() for line in lines_of(name, results))


def lines_of(name: str, results: Sequence[Result]) -> Iterator[str]:
    """The section of a set."""
    yield f"## {'Our own set' if name == 'own' else name}\n"
    yield f"![nDCG@10 of each way to search](evaluation/{name}.svg)\n"
    for result in results:
        yield (
            f"Chunks of {result['chunk_tokens']} tokens: {result['questions']} questions, "
            f"{result['passages']} passages"
            + (f"; answers that are cut in two: {result['split']}" if result["split"] else "")
            + ".\n"
        )
        yield from _of_size(result)
        yield ""
    yield from _by_group(results)


def _of_size(result: Result) -> Iterator[str]:
    yield f"| | {' | '.join(MEASURES)} | nDCG@10 beside the better list |"
    yield "| --- " * (len(MEASURES) + 2) + "|"
    for method in METHODS:
        cells = [_cell(result["methods"][method][measure]) for measure in MEASURES]
        yield f"| {method} | {' | '.join(cells)} | {_beside(result['against'].get(method))} |"


def _cell(figures: Result) -> str:
    return (
        f"{_percent(figures['mean'])} ({_percent(figures['low'])} to {_percent(figures['high'])})"
    )


def _beside(compared: Result | None) -> str:
    if compared is None:
        return ""
    one = compared["nDCG@10"]
    span = f"{100 * one['low']:+.1f} to {100 * one['high']:+.1f}"
    return f"{100 * one['mean']:+.1f} ({span}) than {one['better']}: {one['verdict']}"


def _by_group(results: Sequence[Result]) -> Iterator[str]:
    """The figures by group, for chunks of the default size."""
    result = next((one for one in results if one["chunk_tokens"] == 400), results[0])
    if not result["groups"]:
        return
    yield f"nDCG@10 by group, chunks of {result['chunk_tokens']} tokens:\n"
    yield f"| | questions | {' | '.join(_SHOWN)} |"
    yield "| --- " * (len(_SHOWN) + 2) + "|"
    for group, figures in result["groups"].items():
        means = " | ".join(_percent(figures[method]) for method in _SHOWN)
        yield f"| {group} | {figures['questions']} | {means} |"
    yield ""


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def plot(results: Sequence[Result]) -> str:
    """Bars of nDCG@10 with their intervals, a group for each chunk size, as SVG."""
    bar, gap, height = 22, 40, 200
    group = bar * len(METHODS) + gap
    parts = []
    for number, result in enumerate(results):
        left = 40 + number * group
        for place, method in enumerate(METHODS):
            figures = result["methods"][method]["nDCG@10"]
            parts += _bar(left + place * bar, bar - 4, height, figures, method)
        middle = left + bar * len(METHODS) / 2
        label = f"{result['chunk_tokens']} tokens"
        parts.append(f'<text x="{middle}" y="{height + 88}" text-anchor="middle">{label}</text>')
    width = 40 + group * len(results)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + 100}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join([*_scale(width, height), *parts])
        + "\n</svg>\n"
    )


def _scale(width: int, height: int) -> Iterator[str]:
    for share in (0, 25, 50, 75, 100):
        y = height + 10 - height * share / 100
        yield f'<path d="M34 {y}H{width - 10}" stroke="#dddddd"/>'
        yield f'<text x="30" y="{y + 4}" text-anchor="end">{share}</text>'


def _bar(x: int, width: int, height: int, figures: Result, method: str) -> list[str]:
    bottom, middle = height + 10, x + width / 2
    top, low, high = (round(bottom - height * figures[name], 1) for name in ("mean", "low", "high"))
    colour = _COLOURS.get(method, "#8fb8e8")
    name = html.escape(method)
    place = f"translate({middle + 4} {bottom + 62}) rotate(-90)"
    return [
        f'<rect x="{x}" y="{top}" width="{width}" height="{bottom - top:.1f}" fill="{colour}"/>',
        f'<path d="M{middle} {low}V{high}" stroke="black"/>',
        f'<text transform="{place}">{name}</text>',
    ]


def main() -> None:
    """Write the page and the plots."""
    PLOTS.mkdir(exist_ok=True)
    for name, results in kept().items():
        (PLOTS / f"{name}.svg").write_text(plot(results))
    PAGE.write_text(PAGE.read_text().split(MARK)[0] + MARK + "\n\n" + tables())


if __name__ == "__main__":
    main()
