"""Text that takes a parser a long time, for no other reason than its length."""

from typing import Final

PARAGRAPH: Final = "A *word* here and [there](b) `code`.\n\n"
#: 55 s of processor time (a 2-core x86-64 machine).
SLOW_MARKDOWN: Final = PARAGRAPH * 200_000
