"""Tables with drawn lines: turns ruling lines into a grid of cells. Pure: uses only numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

#: Lines closer than this are one line, and lines with a smaller gap between them meet; in points.
_NEAR = 3.0
#: A page with more ruling lines counts as a drawing.
_MOST_RULES = 600
_MOST_CELLS = 20_000
_MOST_GRIDS = 50


@dataclass(frozen=True)
class Rule:
    """A ruling line: horizontal at a height, or vertical at an abscissa."""

    at: float
    start: float
    end: float


@dataclass(frozen=True)
class Grid:
    """The places of the cells of a table, from the top and from the left."""

    ys: tuple[float, ...]  #: heights of its lines, the highest first
    xs: tuple[float, ...]  #: abscissas of its lines
    #: By row and column, the cell that text at this place belongs to: another cell if cells are
    #: merged.
    owners: tuple[tuple[tuple[int, int], ...], ...]


def grids(level: Sequence[Rule], upright: Sequence[Rule]) -> list[Grid]:
    """Grids with at least two columns made by these lines; none on a page full of lines."""
    level, upright = _merged(level), _merged(upright)
    if not level or not upright or len(level) + len(upright) > _MOST_RULES:
        return []
    groups = _groups(level, upright)
    found = (_grid(level_ones, upright_ones) for level_ones, upright_ones in groups)
    return [grid for grid in found if grid is not None][:_MOST_GRIDS]


def _merged(rules: Sequence[Rule]) -> list[Rule]:
    """Joins the pieces of lines."""
    merged: list[Rule] = []
    for at, run in _levels(rules):
        for rule in sorted(run, key=lambda rule: rule.start):
            if merged and merged[-1].at == at and rule.start <= merged[-1].end + _NEAR:
                end = max(merged[-1].end, rule.end)
                merged[-1] = Rule(at, merged[-1].start, end)
            else:
                merged.append(Rule(at, rule.start, rule.end))
    return merged


def _levels(rules: Sequence[Rule]) -> list[tuple[float, list[Rule]]]:
    levels: list[tuple[float, list[Rule]]] = []
    for rule in sorted(rules, key=lambda rule: rule.at):
        if levels and rule.at - levels[-1][1][-1].at <= _NEAR:
            levels[-1][1].append(rule)
        else:
            levels.append((rule.at, [rule]))
    return levels


def _meet(level: Rule, upright: Rule) -> bool:
    return (
        level.start - _NEAR <= upright.at <= level.end + _NEAR
        and upright.start - _NEAR <= level.at <= upright.end + _NEAR
    )


def _groups(level: list[Rule], upright: list[Rule]) -> list[tuple[list[Rule], list[Rule]]]:
    """Groups of connected lines."""
    parents = list(range(len(level) + len(upright)))

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    for number, rule in enumerate(level):
        for other, crossing in enumerate(upright, start=len(level)):
            if _meet(rule, crossing):
                parents[root(other)] = root(number)
    members: dict[int, tuple[list[Rule], list[Rule]]] = {}
    for number, rule in enumerate([*level, *upright]):
        members.setdefault(root(number), ([], []))[number >= len(level)].append(rule)
    return list(members.values())


def _grid(level: list[Rule], upright: list[Rule]) -> Grid | None:
    # A table may be open at its sides.
    xs = _distinct([rule.at for rule in upright] + [x for r in level for x in (r.start, r.end)])
    ys = _distinct([rule.at for rule in level] + [y for r in upright for y in (r.start, r.end)])
    ys.reverse()
    if len(xs) < 3 or len(ys) < 2 or len(xs) * len(ys) > _MOST_CELLS:
        return None
    return Grid(tuple(ys), tuple(xs), _owners(xs, ys, level, upright))


def _distinct(values: list[float]) -> list[float]:
    kept: list[float] = []
    for value in sorted(values):
        if not kept or value - kept[-1] > _NEAR:
            kept.append(value)
    return kept


def _owners(
    xs: list[float], ys: list[float], level: list[Rule], upright: list[Rule]
) -> tuple[tuple[tuple[int, int], ...], ...]:
    """For each place its cell: two places without a line between them are merged."""
    above = [_drawn(xs, [rule for rule in level if abs(rule.at - y) <= _NEAR]) for y in ys]
    rising = list(reversed(ys))
    beside = [_drawn(rising, [rule for rule in upright if abs(rule.at - x) <= _NEAR]) for x in xs]
    rows = len(ys) - 1
    owners: list[list[tuple[int, int]]] = []
    for row in range(rows):
        cells: list[tuple[int, int]] = []
        for column in range(len(xs) - 1):
            if column and not beside[column][rows - 1 - row]:
                cells.append(cells[-1])
            elif row and not above[row][column]:
                cells.append(owners[row - 1][column])
            else:
                cells.append((row, column))
        owners.append(cells)
    return tuple(tuple(cells) for cells in owners)


def _drawn(steps: list[float], rules: list[Rule]) -> list[bool]:
    """For each step, whether one of these lines covers it."""
    middles = [(start + end) / 2 for start, end in pairwise(steps)]
    return [any(rule.start <= middle <= rule.end for rule in rules) for middle in middles]
