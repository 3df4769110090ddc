"""tests/support/distribution.py names existing files."""

from pathlib import Path

from tests.support.distribution import LONGEST, TOGETHER

ROOT = Path(__file__).parents[2]


def test_every_file_and_group_that_is_named_exists() -> None:
    named = {*TOGETHER, *(name for name in LONGEST if name.endswith(".py"))}
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
    groups = set(TOGETHER.values())
    assert groups <= set(LONGEST)
    assert {name for name in LONGEST if not name.endswith(".py")} == groups
