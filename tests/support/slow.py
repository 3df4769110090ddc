"""Text that takes a parser a long time."""

from typing import Final

#: Links in links: markdown-it takes quadratic time, 18 s for 50 KB.
LINKS: Final = "[a](([a](("
SLOW_MARKDOWN: Final = LINKS * 10_000
