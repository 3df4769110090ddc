"""Text that takes a parser a long time."""

from typing import Final

#: Python-Markdown writes a paragraph again for each of these: twice as many, four times the time.
ESCAPE: Final = "\\["
#: 84 s of processor time (a 2-core x86-64 machine).
SLOW_MARKDOWN: Final = ESCAPE * 400_000
