"""Builds the text that a model gets with a question, and checks its answer. No I/O.

examples/functions/ask/grounding.ts does the same in TypeScript; tests compare the two.
"""

from docmill.worker.grounding.answers import CheckedAnswer, check_answer, storable
from docmill.worker.grounding.context import Context, Passage, build_context, make_nonce
from docmill.worker.grounding.messages import (
    Message,
    answer_messages,
    query_of,
    rewrite_messages,
    unquoted,
)
from docmill.worker.grounding.prompts import PROMPTS

__all__ = [
    "PROMPTS",
    "CheckedAnswer",
    "Context",
    "Message",
    "Passage",
    "answer_messages",
    "build_context",
    "check_answer",
    "make_nonce",
    "query_of",
    "rewrite_messages",
    "storable",
    "unquoted",
]
