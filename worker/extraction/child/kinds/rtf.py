"""Reads RTF, with the code page of each font.

docmill reads it itself, because pandoc takes all bytes for Windows-1252, whatever the document
declares.
"""

import codecs
import re
from dataclasses import dataclass, field

from docmill.worker.extraction.child.kinds.base import Reading, Source
from docmill.worker.extraction.child.kinds.tables import table_elements
from docmill.worker.models import Element

_TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,9})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])"
    rb"|([{}])|([^\\{}\r\n]+)|[\r\n]+|\\"
)
#: Code pages by the character set of a font: [MS-RTF], and what Windows' `CHARSETINFO` says.
_CHARSETS = {
    77: "mac-roman",
    128: "cp932",
    129: "cp949",
    130: "johab",
    134: "gb18030",
    136: "cp950",
    161: "cp1253",
    162: "cp1254",
    163: "cp1258",
    177: "cp1255",
    178: "cp1256",
    186: "cp1257",
    204: "cp1251",
    222: "cp874",
    238: "cp1250",
    254: "cp437",
    255: "cp850",
}
_PAGES = {"936": "gb18030", "1361": "johab", "10000": "mac-roman", "65001": "utf-8"}
_SIGNS = {
    "tab": " ",
    "line": " ",
    "softline": " ",
    "nestcell": " ",
    "nestrow": " ",
    "emdash": "\u2014",
    "endash": "\u2013",
    "emspace": " ",
    "enspace": " ",
    "qmspace": " ",
    "bullet": "\u2022",
    "lquote": "\u2018",
    "rquote": "\u2019",
    "ldblquote": "\u201c",
    "rdblquote": "\u201d",
}
_SYMBOLS = {b"~": " ", b"_": "-", b"{": "{", b"}": "}", b"\\": "\\"}
#: Groups that hold no text of the document. Groups marked with `\*` are skipped as well.
_SKIPPED = frozenset(
    """colortbl pict objdata objclass objname fldinst filetbl revtbl listtable listoverridetable
    info sp sn sv shprslt themedata colorschememapping datastore latentstyles rsidtbl
    generator xmlnstbl xe tc rxe txe bkmkstart bkmkend atnid atnauthor nonesttables
    nonshppict stylesheet fonttbl upr ftnsep ftnsepc ftncn aftnsep aftnsepc aftncn pntxta
    pntxtb""".split()  # noqa: SIM905 -- would take a page
)
#: Groups marked with `\*` that do hold text: shapes, drawings of Word 6, notes of LibreOffice.
_SHOWN_THOUGH_OPTIONAL = frozenset({"shpinst", "do", "footnote"})
#: Separate texts within a paragraph, which are put after it.
_HEADS = {"header", "headerl", "headerr", "headerf", "footer", "footerl", "footerr", "footerf"}
_ASIDE = frozenset({"footnote", "shptxt", "dptxbxtext", *_HEADS})
_HEADING = re.compile(r"heading (\d)$", re.IGNORECASE)
_NO_LEVEL = 9
_MAX_NAME_CHARACTERS = 1000
#: How deep notes and boxes may be nested; deeper ones become text of the outer one.
_MAX_ASIDES = 8
#: How many characters may be repeated for merged cells, because a file may merge any number of
#: them.
_MAX_REPEATED_CHARACTERS = 1_000_000


@dataclass
class _State:
    """The settings that are valid until the group ends."""

    skipped: bool = False
    hidden: bool = False
    target: str = ""  #: fonttbl, stylesheet, title or mark: where text goes if not to the body
    font: int = -1
    fallback: int = 1  #: characters after a Unicode one that replace it for old readers
    level: int = _NO_LEVEL
    style: int = -1
    in_table: bool = False
    double_byte: bool = False


@dataclass
class _Text:
    """A body, a note or a box: its paragraphs, and the table that is being read."""

    pieces: list[str] = field(default_factory=list)
    mark: list[str] = field(default_factory=list)  #: bullet or number of an item
    cells: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    merged: list[tuple[bool, bool]] = field(default_factory=list)
    asides: list[Element] = field(default_factory=list)  #: put after the paragraph that holds them
    found: list[Element] = field(default_factory=list)
    is_head: bool = False  #: a header or footer


def read_rtf(source: Source) -> Reading:
    """Headings, paragraphs, items, tables, notes and text boxes, in the order of the file.

    Comments, hidden and deleted text and pictures are not read. Never raises: unmatched braces end
    the document.
    """
    document = _Document()
    document.read(source.read())
    return Reading(iter(document.elements()), title=document.title or None)


class _Document:
    def __init__(self) -> None:
        self.title = ""
        self._state = _State()
        self._groups: list[tuple[_State, bool]] = []
        self._texts = [_Text()]
        self._fonts: dict[int, str] = {}
        self._levels: dict[int, int] = {}
        self._page = "cp1252"
        self._default_font = -1
        self._bytes = bytearray()  #: of characters that may be incomplete
        self._to_skip = 0
        self._at_start = False  #: nothing of the group was read so far
        self._optional = False  #: the group's first word was `\*`
        self._style_name = ""
        self._next_merge = (False, False)
        self._seen_heads: set[str] = set()
        self._repeatable = _MAX_REPEATED_CHARACTERS

    def read(self, data: bytes) -> None:
        place = 0
        while place < len(data) and (token := _TOKEN.match(data, place)) is not None:
            place = token.end()
            word, number, code, symbol, brace, plain = token.groups()
            if word == b"bin":
                place += max(0, int(number or 0))
            elif word:
                self._word(word.decode("ascii"), None if number is None else int(number))
            elif code:
                self._take(bytes.fromhex(code.decode("ascii")))
            elif plain:
                self._take(plain)
            elif symbol:
                self._symbol(symbol)
            elif brace:
                self._brace(brace)

    def elements(self) -> list[Element]:
        """All elements. A paragraph or table that is cut off counts as complete."""
        self._flush()
        while len(self._texts) > 1:
            self._end_aside()
        self._end_paragraph()
        self._end_table()
        return self._texts[0].found

    # Characters

    def _take(self, data: bytes) -> None:
        """Take bytes in the font's encoding; leave out replacements of Unicode characters."""
        skipped = min(self._to_skip, len(data))
        self._to_skip -= skipped
        self._at_start = False
        if skipped < len(data) and not self._state.skipped:
            self._bytes += data[skipped:]

    def _flush(self) -> None:
        if self._bytes:
            data, self._bytes = self._bytes, bytearray()
            self._show(data.decode(self._codec(), errors="replace"))

    def _codec(self) -> str:
        font = self._state.font if self._state.font >= 0 else self._default_font
        return self._fonts.get(font, self._page)

    def _show(self, text: str) -> None:
        state, target = self._state, self._state.target
        if state.skipped:
            return
        if target == "stylesheet":
            self._style_name = (self._style_name + text)[:_MAX_NAME_CHARACTERS]
        elif target == "title":
            self.title = (self.title + text)[:_MAX_NAME_CHARACTERS]
        elif target == "mark":
            self._texts[-1].mark.append(text)
        elif not target and not state.hidden:
            self._texts[-1].pieces.append(text)

    def _symbol(self, symbol: bytes) -> None:
        if symbol == b"*":
            # Elsewhere it means nothing; some programs write it before a style.
            self._optional = self._at_start
        elif symbol in b"\r\n":
            self._word("par", None)
        elif symbol in _SYMBOLS:
            self._flush()
            if self._to_skip:
                self._to_skip -= 1
            else:
                self._show(_SYMBOLS[symbol])

    # Groups

    def _brace(self, brace: bytes) -> None:
        self._flush()
        self._to_skip = 0
        if brace == b"{":
            self._groups.append((_State(**vars(self._state)), False))
            self._optional, self._at_start = False, True
        elif self._groups:
            self._end_group()

    def _end_group(self) -> None:
        if self._state.target == "stylesheet" and not self._state.skipped:
            self._end_style()
        before, is_aside = self._groups.pop()
        if is_aside and len(self._texts) > 1:
            self._end_aside()
        self._state = before

    def _begin_aside(self, *, is_head: bool) -> None:
        self._groups[-1] = (self._groups[-1][0], True)
        self._texts.append(_Text(is_head=is_head))
        self._state.in_table = False
        self._state.level = _NO_LEVEL

    def _end_aside(self) -> None:
        self._end_paragraph()
        self._end_table()
        aside = self._texts.pop()
        written = "\n".join(element.text for element in aside.found)
        # Headers and footers are written again for each section.
        if not aside.is_head or written not in self._seen_heads:
            self._texts[-1].asides.extend(aside.found)
        if aside.is_head:
            self._seen_heads.add(written)

    def _end_style(self) -> None:
        name = self._style_name.strip().rstrip(";").strip()
        self._style_name = ""
        if found := _HEADING.match(name):
            self._levels[max(self._state.style, 0)] = int(found[1]) - 1
        elif name.lower() == "title" or self._state.level < _NO_LEVEL:
            # In other languages headings have other names but the same levels.
            self._levels[max(self._state.style, 0)] = self._state.level % _NO_LEVEL

    # Words

    def _word(self, word: str, number: int | None) -> None:
        self._flush()
        is_optional, self._optional, self._at_start = self._optional, False, False
        if word == "u" and number is not None:
            self._to_skip = 0
            self._show(chr(number % 0x10000))
            self._to_skip = self._state.fallback
            return
        self._to_skip = 0
        if self._begins_group(word, is_optional=is_optional):
            return
        if word in _SIGNS:
            self._show(_SIGNS[word])
        elif word in ("par", "sect", "page", "column", "cell", "row"):
            self._end(word)
        elif not self._format(word, number):
            self._set(word, number)

    def _begins_group(self, word: str, *, is_optional: bool) -> bool:
        state = self._state
        if word in ("fonttbl", "stylesheet"):
            state.target = word
        elif word in ("title", "pntext", "listtext") and self._groups:
            state.target = "title" if word == "title" else "mark"
            state.skipped = word == "title" and bool(self.title)
        elif word == "ud":
            # It is in a skipped group, which holds the same text for old readers.
            state.skipped = self._groups[-2][0].skipped if len(self._groups) > 1 else False
        elif word in _SKIPPED or (is_optional and word not in _SHOWN_THOUGH_OPTIONAL):
            state.skipped = True
        elif word in _ASIDE and self._groups:
            if not state.skipped and len(self._texts) <= _MAX_ASIDES:
                self._begin_aside(is_head=word in _HEADS)
        else:
            return word in _SHOWN_THOUGH_OPTIONAL
        return True

    def _end(self, word: str) -> None:
        if self._state.skipped or self._state.target:
            return
        text = self._texts[-1]
        if word == "cell":
            text.cells.append(self._taken())
        elif word == "row":
            self._end_row(text)
        elif self._state.in_table:
            text.pieces.append(" ")
        else:
            self._end_paragraph()

    def _format(self, word: str, number: int | None) -> bool:
        """Take a control word about the look of text."""
        state = self._state
        if word in ("v", "deleted"):
            state.hidden = number != 0
        elif word == "uc":
            state.fallback = max(0, number or 0)
        elif word == "pard":
            state.level, state.style, state.in_table = _NO_LEVEL, -1, False
        elif word == "intbl":
            state.in_table = True
        elif word == "outlinelevel":
            state.level = number or 0
        elif word == "s":
            state.style = number or 0
        else:
            return self._set_font(word, number or 0)
        return True

    def _set_font(self, word: str, number: int) -> bool:
        state = self._state
        if word == "f" or (word == "af" and state.double_byte):
            state.font = number
            if state.target == "fonttbl":
                self._fonts.pop(number, None)
        elif word in ("dbch", "loch", "hich"):
            state.double_byte = word == "dbch"
        elif word == "plain":
            state.hidden, state.font, state.double_byte = False, -1, False
        else:
            return False
        return True

    def _set(self, word: str, number: int | None) -> None:
        """Take a control word about the document, a font or a table."""
        text = self._texts[-1]
        if word == "ansicpg":
            self._page = _codec_of(str(number)) or self._page
        elif word in ("mac", "pc", "pca"):
            self._page = {"mac": "mac-roman", "pc": "cp437", "pca": "cp850"}[word]
        elif word == "deff":
            self._default_font = number or 0
        elif word in ("fcharset", "cpg") and self._state.target == "fonttbl":
            codec = _CHARSETS.get(number or 0) if word == "fcharset" else _codec_of(str(number))
            if codec:
                self._fonts[self._state.font] = codec
        elif word == "trowd":
            text.merged, self._next_merge = [], (False, False)
        elif word in ("clmrg", "clvmrg"):
            across, down = self._next_merge
            self._next_merge = (across or word == "clmrg", down or word == "clvmrg")
        elif word == "cellx":
            text.merged.append(self._next_merge)
            self._next_merge = (False, False)

    # Paragraphs and tables

    def _taken(self) -> str:
        """The text since the last end of a paragraph or cell."""
        text = self._texts[-1]
        shown = "".join(text.pieces)
        text.pieces = []
        # Characters beyond the first plane are written as two halves.
        halves = shown.encode("utf-16-le", errors="surrogatepass")
        return " ".join(halves.decode("utf-16-le", errors="replace").split())

    def _end_paragraph(self) -> None:
        text = self._texts[-1]
        shown, mark = self._taken(), "".join(text.mark).strip()
        text.mark = []
        if shown:
            self._end_table()
            text.found.append(self._paragraph(shown, mark))
        if not text.rows and not text.cells:
            text.found.extend(text.asides)
            text.asides = []

    def _paragraph(self, shown: str, mark: str) -> Element:
        level = self._state.level
        if level >= _NO_LEVEL:
            level = self._levels.get(self._state.style, _NO_LEVEL)
        if level < _NO_LEVEL:
            return Element("Title", shown, depth=level)
        if mark:
            numbered = any(map(str.isalnum, mark)) and len(mark) > 1
            return Element("ListItem", f"{mark} {shown}" if numbered else shown)
        return Element("NarrativeText" if len(shown) > 80 else "Text", shown)

    def _end_row(self, text: _Text) -> None:
        if rest := self._taken():
            text.cells.append(rest)
        above = text.rows[-1] if text.rows else []
        for place, (across, down) in enumerate(text.merged[: len(text.cells)]):
            if down and not text.cells[place] and place < len(above):
                text.cells[place] = self._again(above[place])
            elif across and not text.cells[place] and place:
                text.cells[place] = self._again(text.cells[place - 1])
        text.rows.append(text.cells)
        text.cells, text.mark = [], []

    def _again(self, cell: str) -> str:
        """The text of a merged cell again; nothing if too much was repeated."""
        self._repeatable -= len(cell)
        return cell if self._repeatable >= 0 else ""

    def _end_table(self) -> None:
        text = self._texts[-1]
        if text.cells:
            self._end_row(text)
        if text.rows:
            text.found.extend(table_elements(text.rows))
            text.rows = []
            text.found.extend(text.asides)
            text.asides = []


def _codec_of(page: str) -> str | None:
    name = _PAGES.get(page, f"cp{page}")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return None
