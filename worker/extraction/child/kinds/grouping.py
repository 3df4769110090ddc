"""Joins small pieces of text to about the size of a chunk."""

from collections.abc import Iterable, Iterator

#: About the text of one chunk of the default size.
GROUP_CHARACTERS = 1500


def grouped(pieces: Iterable[str], joint: str) -> Iterator[str]:
    """Groups of pieces with limited length; a longer piece is a group by itself."""
    group: list[str] = []
    size = 0
    for piece in pieces:
        if group and size + len(piece) > GROUP_CHARACTERS:
            yield joint.join(group)
            group, size = [], 0
        group.append(piece)
        size += len(piece) + len(joint)
    if group:
        yield joint.join(group)
