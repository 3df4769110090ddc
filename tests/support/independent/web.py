"""The text of a page as a browser shows it, read with the standard library's parser."""

import codecs
import re
from html.parser import HTMLParser

#: Their content is not shown, or is not part of the page's text.
_UNSEEN = frozenset(
    [
        "script",
        "style",
        "template",
        "head",
        "nav",
        "noscript",
        "select",
        "datalist",
        "del",
        "svg",
        "canvas",
        "video",
        "audio",
        "object",
        "iframe",
    ]
)
_VOID = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
        "frame",
    ]
)
_DECLARED = re.compile(rb"charset\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID:
            return
        names = dict(attrs)
        if tag == "body":
            # Ends a head that was never closed.
            self._open = [(name, False) for name, _ in self._open]
        hidden = "hidden" in names or names.get("role") in ("navigation", "contentinfo", "search")
        inner = any(name in ("article", "section", "main") for name, _ in self._open)
        # The footer of a site is on each of its pages; the footer of an article belongs to it.
        hidden = hidden or (tag == "footer" and not inner)
        self._open.append((tag, tag in _UNSEEN or hidden))

    def handle_endtag(self, tag: str) -> None:
        places = [place for place, (name, _) in enumerate(self._open) if name == tag]
        if places:
            del self._open[places[-1] :]

    def handle_data(self, data: str) -> None:
        if not any(unseen for _, unseen in self._open):
            self.texts.append(data)


def letters(data: bytes) -> str:
    """All visible text, in the order of the page."""
    seen = _Seen()
    seen.feed(_decoded(data))
    seen.close()
    return "".join(seen.texts)


def lines(data: bytes) -> str:
    """Like `letters`, with each run of text on its own line."""
    seen = _Seen()
    seen.feed(_decoded(data))
    seen.close()
    return "\n".join(seen.texts)


def _decoded(data: bytes) -> str:
    declared = _DECLARED.search(data[:4096])
    for name in ("utf-8", declared[1].decode() if declared else "", "cp1252"):
        try:
            codecs.lookup(name)
            return data.decode(name)
        except (LookupError, UnicodeError):
            continue
    return data.decode("latin-1")
