"""Documents of any kind that were made of words by which a test judges what is read of them."""

import re
from dataclasses import dataclass


@dataclass
class JudgedDocument:
    """A file, and its words that a user sees, in reading order. All its other words are hidden."""

    data: bytes
    shown: list[str]


def words_in(text: str) -> list[str]:
    """The words of such a document that a text holds: q1z and so on, and hidden ones."""
    return re.findall(r"q\d+[a-z]", text)
