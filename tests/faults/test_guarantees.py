"""docs/guarantees.md shows the recorded measurements."""

from tests.faults.guarantees import PAGE, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page()
