"""The text that a browser finds in markup that is wrong, by the rules of the HTML standard.

html5lib builds the tree that the standard's section on parsing asks for.
"""

from collections.abc import Iterator
from typing import Any, Final

import html5lib  # type: ignore[import-untyped]  # ships no types

_UNSEEN: Final = frozenset(
    ["script", "style", "template", "noscript", "head", "iframe", "noembed", "noframes", "select"]
)


def text_of(markup: str) -> str:
    """All text that is shown, in the order of the page."""
    return " ".join(_texts(html5lib.parse(markup, namespaceHTMLElements=False)))


def _texts(node: Any) -> Iterator[str]:
    if not isinstance(node.tag, str) or node.tag in _UNSEEN:
        return
    yield node.text or ""
    for inner in node:
        yield from _texts(inner)
        yield inner.tail or ""
