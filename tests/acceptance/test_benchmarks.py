"""The benchmarks run, on little: their own checks hold, and every side has its figure."""

from tests.benchmarks import edit, end_to_end, growth, writer
from tests.benchmarks.records import Record


def test_an_edit_at_the_top_touches_nothing_else() -> None:
    record = edit.measure(pages=6, runs=1)
    assert [target.is_met for target in record.targets] == [True] * 3
    chunks = record.case("6 pages", "chunks", "chunks").median
    assert chunks > 6


def test_the_writer_is_measured_with_and_without_a_graph() -> None:
    record = writer.measure(rows=40, runs=1, peers=(), dimensions=(384,))
    assert {case.group for case in record.cases} == {
        "384 dimensions, no graph",
        "384 dimensions, HNSW",
    }
    assert_measured(record)


def test_growth_has_a_rate_at_each_size() -> None:
    record = growth.measure(most=1000, documents=4, runs=1, first=100)
    assert len(record.cases) == 6
    assert_measured(record)


def test_the_stages_and_the_whole_are_measured() -> None:
    record = end_to_end.measure(files=5, runs=1)
    rates = {case.name: case.median for case in record.cases if case.unit == "documents/s"}
    assert set(rates) == {
        *(*end_to_end.STAGES, "one after the other"),
        *("R_max of the limit model", "docmill"),
    }
    # A sum of times is longer than any of them.
    assert rates["one after the other"] < min(rates[stage] for stage in end_to_end.STAGES)
    assert_measured(record)


def assert_measured(record: Record) -> None:
    assert all(value > 0 for case in record.cases for value in case.values)
    assert {"docmill", "PostgreSQL", "pgvector"} <= set(record.versions)
