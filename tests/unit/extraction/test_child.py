"""How a child changes an element before it writes it."""

import pytest

from docmill.worker.extraction.child.life import _presentable
from docmill.worker.extraction.shared.protocol import MAX_ELEMENT_CHARACTERS
from docmill.worker.models import Element


@pytest.mark.parametrize(
    "character", ["e\u0301", "\U0001f469\u200d\U0001f52c", "\U0001f44d\U0001f3fd"]
)
@pytest.mark.parametrize("shift", range(3))
def test_text_without_spaces_is_cut_between_characters(character: str, shift: int) -> None:
    count = MAX_ELEMENT_CHARACTERS
    text = "x" * shift + character * count
    pieces = [element.text for element in _presentable(Element("Text", text))]
    assert len(pieces) > 1
    assert "".join(pieces) == text
    assert all(len(piece) <= MAX_ELEMENT_CHARACTERS for piece in pieces)
    assert all(piece.startswith(character) for piece in pieces[1:])
