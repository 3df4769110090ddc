"""The messages that a model is sent."""

from collections.abc import Sequence
from typing import TypedDict

from docmill.worker.grounding.prompts import CITATION, PROMPTS, filled, tokens_of


class Message(TypedDict):
    """As OpenAI's chat API takes it."""

    role: str
    content: str


def answer_messages(
    question: str, context: str, history: Sequence[Message], nonce: str
) -> list[Message]:
    """For an answer: rules, what was said before as far as there is room, the question."""
    rules = filled(PROMPTS.answer, {"nonce": nonce, "not_found": PROMPTS.not_found})
    asked = filled(PROMPTS.question, {"sources": context, "question": question})
    return [
        {"role": "system", "content": rules},
        *_fitting(history),
        {"role": "user", "content": asked},
    ]


def rewrite_messages(question: str, history: Sequence[Message]) -> list[Message]:
    """For a question that stands by itself."""
    said = "\n".join(
        f"{'User' if one['role'] == 'user' else 'Assistant'}: {one['content']}"
        for one in _fitting(history)
    )
    asked = filled(PROMPTS.conversation, {"said": said, "question": question})
    return [{"role": "system", "content": PROMPTS.rewrite}, {"role": "user", "content": asked}]


def query_of(written: str, question: str) -> str:
    """What is searched for: what the model wrote, the user's question where it wrote nothing."""
    lines = (line.strip() for line in written.split("\n"))
    return next((line for line in lines if line), question)[: PROMPTS.query_characters]


def _fitting(history: Sequence[Message]) -> list[Message]:
    """Pairs of question and answer, the newest that fit. Old numbers would name new sources."""
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
