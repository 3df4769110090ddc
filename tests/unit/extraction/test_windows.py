"""Windows limit the memory of a document."""

from docmill.worker.extraction.parent.windows import windows_of
from docmill.worker.extraction.shared.parts import PageEnd
from docmill.worker.models import Element

Parts = list[Element | PageEnd]


def text(characters: int, category: str = "Text") -> Element:
    return Element(category, "x" * characters)


def test_a_small_document_is_one_window():
    parts: Parts = [text(5), PageEnd(1, has_text=True), PageEnd(2, has_text=False)]
    (window,) = windows_of(parts)
    assert list(window.elements) == [text(5)]
    assert (window.pages_done, window.unread_pages) == (2, [2])


def test_a_full_window_ends_with_its_page():
    parts: Parts = [
        text(60),
        text(60),
        PageEnd(1, has_text=True),
        text(5),
        PageEnd(2, has_text=True),
    ]
    first, second = windows_of(parts, window_characters=100)
    assert (len(first.elements), first.pages_done) == (2, 1)
    assert (len(second.elements), second.pages_done) == (1, 2)


def test_a_full_window_ends_before_a_title():
    first, second = windows_of([text(120), text(5), text(3, "Title")], window_characters=100)
    assert [len(e.text) for e in first.elements] == [120, 5]
    assert second.elements[0].category == "Title"


def test_a_window_without_pages_and_titles_ends_at_twice_the_size():
    windows = list(windows_of([text(50) for _ in range(10)], window_characters=100))
    assert [len(window.elements) for window in windows] == [4, 4, 2]


def test_pages_belong_to_the_window_that_ends_with_them():
    parts: Parts = [text(120), PageEnd(1, has_text=True), PageEnd(2, has_text=False), text(1)]
    first, second = windows_of(parts, window_characters=100)
    assert (first.unread_pages, second.unread_pages) == ([], [2])


def test_no_element_is_lost_or_doubled():
    parts: Parts = [text(n, "Title" if n % 7 == 0 else "Text") for n in range(1, 200)]
    windows = windows_of(parts, window_characters=300)
    assert [element for window in windows for element in window.elements] == parts
