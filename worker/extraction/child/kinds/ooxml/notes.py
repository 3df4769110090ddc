"""Footnotes, endnotes and comments of Word, each after the paragraph that first refers to it."""

from typing import Any

from docmill.worker.extraction.child.kinds.ooxml.alternatives import replace_with
from docmill.worker.extraction.child.kinds.ooxml.names import W, is_on
from docmill.worker.extraction.child.kinds.ooxml.story import NOTE, paragraph_of, put_text

_FOOT, _END = f"{W}footnoteReference", f"{W}endnoteReference"
_COMMENT = f"{W}commentReference"
_MAX_AUTHOR_CHARACTERS = 100
_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"),
          (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip


class Notes:
    """The notes of a document, numbered in the order in which they are referred to."""

    def __init__(self, footnotes: Any, endnotes: Any, comments: Any) -> None:
        """Take the simplified roots of the parts that hold them; None if none is to be read."""
        self._notes = {
            _FOOT: _by_id(footnotes),
            _END: _by_id(endnotes),
            _COMMENT: _by_id(comments),
        }
        self._numbers = {_FOOT: 0, _END: 0}

    def take(self, reference: Any) -> list[Any]:
        """Paragraphs and tables of a note; the reference to a numbered one becomes its mark.

        Returns nothing for a note that was taken before or does not exist.
        """
        note = self._notes[reference.tag].pop(reference.get(f"{W}id", ""), None)
        if note is None:
            return []
        if reference.tag == _COMMENT:
            author = " ".join(note.get(f"{W}author", "").split())[:_MAX_AUTHOR_CHARACTERS]
            mark = f"[comment by {author}]" if author else "[comment]"
        elif mark := self._mark(reference):
            put_text(reference, mark)
        blocks = list(note)
        _put_mark(blocks, f"{mark} " if mark else "")
        return blocks

    def _mark(self, reference: Any) -> str:
        """The note's number as Word counts; empty if the author's own sign follows."""
        follows = reference.get(f"{W}customMarkFollows")
        if follows is not None and is_on(follows):
            return ""
        self._numbers[reference.tag] += 1
        number = self._numbers[reference.tag]
        return f"[{number if reference.tag == _FOOT else _roman(number)}]"


def _by_id(root: Any) -> dict[str, Any]:
    if root is None:
        return {}
    notes = root.iterchildren(f"{W}footnote", f"{W}endnote", f"{W}comment")
    # The others are separator lines.
    return {
        note.get(f"{W}id", ""): note for note in notes if note.get(f"{W}type", "normal") == "normal"
    }


def _put_mark(blocks: list[Any], mark: str) -> None:
    for block in blocks:
        block.set(NOTE, "")
        for own in list(block.iter(f"{W}footnoteRef", f"{W}endnoteRef")):
            replace_with(own, [])
    if not blocks:
        return
    if blocks[0].tag == f"{W}p":
        blocks[0].set(NOTE, mark)
    elif mark:
        blocks.insert(0, paragraph_of(mark))


def _roman(number: int) -> str:
    written = ""
    for value, letters in _ROMAN:
        count, number = divmod(number, value)
        written += letters * count
    return written
