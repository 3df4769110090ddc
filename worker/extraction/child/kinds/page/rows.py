"""Makes rows of a page from pieces of text and their places."""

from collections.abc import Sequence
from statistics import median

from docmill.worker.extraction.child.kinds.page.layout import Line, Row


def rows_of_pieces(pieces: Sequence[Line]) -> list[Row]:
    """Pieces of text at one height make a row, from left to right; rows from top to bottom."""
    rows: list[list[Line]] = []
    for piece in sorted(pieces, key=lambda piece: -(piece.top + piece.bottom)):
        middle = (piece.top + piece.bottom) / 2
        if rows and rows[-1][-1].bottom < middle < rows[-1][-1].top:
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return [row_of(sorted(row, key=lambda piece: piece.left)) for row in rows]


def row_of(pieces: Sequence[Line]) -> Row:
    """Pieces from left to right as a row."""
    whole = Line(
        " ".join(piece.text for piece in pieces),
        pieces[0].left,
        max(piece.right for piece in pieces),
        top=max(piece.top for piece in pieces),
        bottom=min(piece.bottom for piece in pieces),
        size=median(piece.size for piece in pieces),
        bold=all(piece.bold for piece in pieces),
        runs=all(piece.runs for piece in pieces),
    )
    return Row(whole, tuple(pieces) if len(pieces) > 1 else ())
