"""A labelled set: a folder with documents and questions.

FOLDER/documents/     files of any kind that docmill reads, or sources of some: see documents.py
FOLDER/questions.jsonl     an object a line:
question    as a user types it
answer      words that a right passage holds, compared without regard to blanks and case
document    name of the file that the answer is in; none: any
kind, language    for tables by them; none: left out
"""

import json
from dataclasses import dataclass
from pathlib import Path

from tests.eval.documents import made


@dataclass(frozen=True)
class Question:
    """A question, and how to recognise a correct passage."""

    question: str
    answer: str
    document: str | None = None
    kind: str = ""
    language: str = ""

    def is_answered_by(self, document: str, content: str) -> bool:
        """Whether a passage is correct."""
        return self.document in {None, document} and plain(self.answer) in plain(content)


def plain(text: str) -> str:
    """A text without differences that extraction may make: blanks and case."""
    return "".join(text.split()).casefold()


def questions_of(folder: Path) -> list[Question]:
    """The questions of a set."""
    lines = (folder / "questions.jsonl").read_text().splitlines()
    return [Question(**json.loads(line)) for line in lines if line.strip()]


def documents_of(folder: Path, work: Path) -> list[Path]:
    """The documents of a set; those with a source are made in the folder `work`."""
    return [made(path, work) for path in sorted((folder / "documents").iterdir())]
