"""The visible text of an RTF file, by the specification of RTF 1.9.1.

It builds the tree of groups first and then walks it. docmill reads the file as a stream.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"\\([a-z]+)(-?\d+)? ?|\\'([0-9a-f]{2})|\\(.)|([{}])|([^\\{}\r\n]+)", re.IGNORECASE | re.DOTALL
)
#: Destinations that hold text which Word shows, also those that old readers may skip.
_TEXT = {"footnote", "shp", "shpinst", "shptxt", "shpgrp", "ud", "field", "fldrslt", "result"}
_TEXT |= {"object", "pntext", "listtext", "dptxbxtext", "do", "rtf", "header", "footer"}
_HIDDEN = {"fonttbl", "colortbl", "stylesheet", "info", "pict", "fldinst", "objdata", "upr", "sp"}
_HIDDEN |= {"shprslt", "nonshppict", "xe", "tc", "objclass", "objname", "nonesttables"}
_BREAKS = {"par", "line", "tab", "cell", "row", "sect", "page", "nestcell", "nestrow", "column"}


@dataclass
class _Group:
    nodes: list["_Node"] = field(default_factory=list)

    @property
    def name(self) -> tuple[str, bool]:
        """The first control word, and whether old readers may skip the group."""
        words = [node for node in self.nodes[:2] if isinstance(node, _Word)]
        optional = bool(words) and words[0].word == "*"
        first = words[int(optional)] if len(words) > int(optional) else None
        return (first.word if first is not None else ""), optional


@dataclass
class _Word:
    word: str
    number: int | None


_Node = _Group | _Word | str


def letters(data: bytes) -> str:
    """The text of the body with notes and boxes where they are anchored."""
    return "".join(_texts(_tree(data.decode("latin-1")), [False], shown=True))


def _tree(text: str) -> _Group:
    root = _Group()
    stack = [root]
    for found in _TOKEN.finditer(text):
        word, number, code, sign, brace, plain = found.groups()
        if brace == "{":
            stack.append(_Group())
            stack[-2].nodes.append(stack[-1])
        elif brace:
            if len(stack) > 1:
                stack.pop()
        elif word:
            stack[-1].nodes.append(_Word(word, int(number) if number else None))
        elif sign == "*":
            stack[-1].nodes.append(_Word("*", None))
        elif code:
            stack[-1].nodes.append(bytes.fromhex(code).decode("cp1252", errors="replace"))
        elif plain or sign in ("~", "_", "\n", "\r"):
            stack[-1].nodes.append(plain or " ")
    return root


def _texts(group: _Group, hidden: list[bool], *, shown: bool) -> Iterator[str]:
    """Text of a group; `hidden` has whether the running text is hidden."""
    name, optional = group.name
    if (name in _HIDDEN and name != "upr") or (optional and name not in _TEXT):
        return
    hidden = list(hidden)
    for node in group.nodes:
        if isinstance(node, _Group):
            # Of two forms of a text, the one in Unicode is in the group \ud.
            if name != "upr" or node.name[0] == "ud":
                yield from _texts(node, hidden, shown=shown)
        elif isinstance(node, _Word):
            if node.word in ("v", "deleted"):
                hidden[0] = node.number != 0
            elif node.word == "plain":
                hidden[0] = False
            elif node.word in _BREAKS:
                yield "\n"
        elif not hidden[0] and name != "upr":
            yield node
