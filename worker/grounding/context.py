"""Turns passages into numbered sources between delimiters that no document can contain."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from docmill.worker.grounding.prompts import CITATION, PROMPTS, tokens_of

#: A row of hybrid_search, by the names of its columns.
Passage = Mapping[str, Any]

#: Control characters, marks of direction, and tags and selectors of variants, which only models
#: read.
_UNSEEN: Final = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_SPACE: Final = re.compile("[ \t\n\v\f\r\u2028\u2029]+")


@dataclass(frozen=True)
class Context:
    """The sources that are sent, in the order of their numbers 1, 2, ..., and the text of all."""

    sources: Sequence[Passage]
    text: str


def make_nonce() -> str:
    """A random marker, so that no document can contain it."""
    return secrets.token_hex(16)


def cleaned(text: str) -> str:
    """A text of a document without invisible characters, and without things like citations."""
    return CITATION.sub(r"\1(\2)", _UNSEEN.sub("", text))


def build_context(
    passages: Sequence[Passage], nonce: str, budget: int = PROMPTS.source_tokens
) -> Context:
    """The passages that fit into the budget of tokens, with their numbers, and the whole text."""
    sources: list[Passage] = []
    blocks: list[str] = []
    left = budget
    for passage in passages:
        if len(sources) == PROMPTS.sources_sent:
            break
        text = _text_of(passage)
        if tokens_of(text) > left:
            if sources:
                continue
            text = text[: budget * 3 // 4]
        left -= tokens_of(text)
        sources.append(passage)
        number = len(sources)
        blocks.append(f"<source {number} {nonce}>\n{text}\n</source {number} {nonce}>")
    return Context(sources, "\n\n".join(blocks))


def _text_of(passage: Passage) -> str:
    lines = [f"Document: {_one_line(passage['title'] or passage['object_name'])}"]
    if passage["headings"]:
        headings = passage["headings"][-PROMPTS.headings_sent :]
        lines.append(f"Section: {' > '.join(map(_one_line, headings))}")
    first, last = passage["page_start"], passage["page_end"]
    if first is not None:
        lines.append(f"Pages: {first}" + ("" if last == first else f"-{last}"))
    return "\n".join(lines) + "\n\n" + cleaned(passage["content"])


def _one_line(text: str) -> str:
    """A name on one line. Cut: a long one would leave no room for passages."""
    line = " ".join(part for part in _SPACE.split(cleaned(text)) if part)
    return line[: PROMPTS.name_characters]
