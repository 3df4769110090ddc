"""What benchmarks record, and the page that is made of it."""

import argparse
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks import page, records
from tests.benchmarks.growth import sizes
from tests.benchmarks.records import Record, Target, finish, load, slope


def record() -> Record:
    made = Record("writer", "Writing", "Ten rows.", versions={"docmill": "1", "vecs": "<2>"})
    for values, name in (([3.0, 1.0, 2.0], "docmill"), ([0.5, 0.7, 0.6], "a <peer>")):
        made.case("no graph", name, "rows/s").values.extend(values)
    made.case("lonely", "docmill", "s").values.append(1)
    made.targets = [Target("at least 5", 3.3, least=5), Target("at most 3", 3, most=3)]
    return made


def test_a_record_says_medians_spreads_and_what_was_missed() -> None:
    text = record().text()
    assert "| no graph | docmill | 2 | 1 to 3 | 3 | rows/s |" in text
    assert "| at least 5 | 3.3 | **no** |" in text
    assert "| at most 3 | 3 | yes |" in text


def test_a_record_is_read_as_it_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "FOLDER", tmp_path / "kept")
    made = record()
    finish(made, argparse.Namespace(record=True, runs=5))
    assert load(tmp_path / "kept" / "writer.json") == made
    with pytest.raises(SystemExit, match="needs 5 runs"):
        finish(made, argparse.Namespace(record=True, runs=1))


def test_a_plot_is_a_picture_with_a_bar_for_each_case() -> None:
    [(group, cases)] = page._groups(record())  # one case alone has nothing beside it
    picture = ET.fromstring(page.plot(group, cases))
    names = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"docmill", "a <peer>", "2 rows/s", "0.6 rows/s"} <= names
    widths = [
        float(rect.attrib["width"])
        for rect in picture.iter("{http://www.w3.org/2000/svg}rect")
        if rect.attrib["width"] != "100%"
    ]
    assert widths[0] / widths[1] == pytest.approx(2 / 0.6, rel=0.01)


def test_the_page_is_made_of_what_was_recorded() -> None:
    found = page.records()
    above, mark, below = page.PAGE.read_text().partition(page.MARK)
    assert mark, above
    assert below == "\n\n" + page.body(found)
    for one in found:
        assert min(len(case.values) for case in one.cases) >= records.RUNS
        for number, (group, cases) in enumerate(page._groups(one)):
            plot = records.FOLDER / f"{one.name}-{number}.svg"
            assert plot.read_text() == page.plot(group, cases)


def test_the_exponent_of_a_power_is_found() -> None:
    points = [(n, 3.0 * n**0.5) for n in (10.0, 100.0, 1000.0)]
    assert slope(points) == pytest.approx(0.5)


def test_growth_goes_up_tenfold() -> None:
    assert sizes(100_000) == [0, 1000, 10_000, 100_000]
