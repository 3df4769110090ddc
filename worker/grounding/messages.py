"""The messages that are sent to a model."""

import re
from collections.abc import Sequence
from typing import TypedDict

from docmill.worker.grounding.answers import storable
from docmill.worker.grounding.prompts import CITATION, PROMPTS, filled, tokens_of


class Message(TypedDict):
    """A message of OpenAI's chat API."""

    role: str
    content: str


def answer_messages(
    question: str, context: str, history: Sequence[Message], nonce: str
) -> list[Message]:
    """Messages for an answer: the rules, earlier messages as far as they fit, the question."""
    rules = filled(PROMPTS.answer, {"nonce": nonce, "not_found": PROMPTS.not_found})
    asked = filled(PROMPTS.question, {"sources": context, "question": question})
    return [
        {"role": "system", "content": rules},
        *_fitting(history),
        {"role": "user", "content": asked},
    ]


def rewrite_messages(question: str, history: Sequence[Message]) -> list[Message]:
    """Messages that make the model rewrite a question so that it can be understood alone."""
    said = "\n".join(
        f"{'User' if one['role'] == 'user' else 'Assistant'}: {one['content']}"
        for one in _fitting(history)
    )
    asked = filled(PROMPTS.conversation, {"said": said, "question": question})
    return [{"role": "system", "content": PROMPTS.rewrite}, {"role": "user", "content": asked}]


def query_of(written: str, question: str) -> str:
    """The query to search for: the model's text, or the user's question if that is empty."""
    lines = (line.strip() for line in storable(written).split("\n"))
    return next((line for line in lines if line), question)[: PROMPTS.query_characters]


def unquoted(query: str) -> str:
    """The query without quotes.

    Passages must hold a quoted text word for word; if none does, a question is searched for again
    without quotes.
    """
    return re.sub('["„“”«»]', " ", query)


def _fitting(history: Sequence[Message]) -> list[Message]:
    """The newest pairs of question and answer that fit, without citations of old sources."""
    left = PROMPTS.history_tokens
    kept: list[Message] = []
    for end in range(len(history), 1, -2):
        pair: list[Message] = [
            {"role": one["role"], "content": CITATION.sub("", one["content"])}
            for one in history[end - 2 : end]
        ]
        left -= sum(tokens_of(one["content"]) for one in pair)
        if left < 0:
            break
        kept = [*pair, *kept]
    return kept
