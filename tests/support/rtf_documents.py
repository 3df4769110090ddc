"""Random RTF files, as Word, WordPad and LibreOffice write them, and what they show."""

from dataclasses import dataclass, field
from random import Random

from tests.support.judged_documents import JudgedDocument

_SHOWING = (
    "{{\\b {}}}",
    "\\i {}\\i0 ",
    '{{\\field{{\\*\\fldinst HYPERLINK "q0h"}}{{\\fldrslt {{\\ul {}}}}}}}',
    "{{\\field\\fldedit{{\\*\\fldinst {{ DATE q0h}}}}{{\\fldrslt {}}}}}",
    "{{\\revised\\revauth1 {}}}",
    "{{\\*\\bkmkstart q0h}}{}{{\\*\\bkmkend q0h}}",
    "{{\\upr{{q0h}}{{\\*\\ud{{{}}}}}}}",
    "{{\\object\\objemb{{\\*\\objclass q0h}}{{\\*\\objdata 0102}}{{\\result {}}}}}",
    "{{\\super {}}}",
    "{{\\*\\q0h hidden}}{{\\plain\\f1 {}}}",
    "{{{{{}}}}}",
    "\\ltrch {}\\~",
    "{{\\cs15 {}}}\\_",
)
_HIDING = (
    "{{\\v {}}}",
    "\\v {}\\v0 ",
    "{{\\deleted {}}}",
    "{{\\*\\annotation\\pard {}}}",
    "{{\\*\\unknown {}}}",
    "{{\\xe {{{}}}}}",
    "{{\\pict\\wmetafile8 01{{\\*\\picprop {}}}02}}",
    "{{\\shp{{\\*\\shpinst{{\\sp{{\\sn {0}}}{{\\sv {0}}}}}}}{{\\shprslt {0}\\par}}}}",
    "{{\\*\\bkmkstart {}}}",
    "{{\\field{{\\*\\fldinst {}}}{{\\fldrslt }}}}",
    "{{\\object{{\\*\\objdata {}}}{{\\result }}}}",
)
#: May stand within a word: an optional hyphen, an empty group, a line of the file.
_INVISIBLE = ("\\-", "{}", "\r\n", "{\\b}", "\\zwnj ")
#: Word and LibreOffice mark a note differently.
_NOTES = ("{{\\footnote\\pard\\plain {}}}", "{{\\*\\footnote\\ftnalt {}}}", "{{\\*\\footnote {}}}")
_BOXES = (
    "{{\\shp{{\\*\\shpinst\\shpleft1{{\\sp{{\\sn a}}{{\\sv 1}}}}{{\\shptxt {}}}}}}}",
    "{{\\shp{{\\*\\shpinst{{\\shptxt {}}}}}{{\\shprslt{{\\*\\do{{\\dptxbxtext q0h\\par}}}}}}}}",
    "{{\\*\\do\\dobxpage\\dobypage\\dptxbx{{\\dptxbxtext {}}}\\dpx1\\dpy2}}",
    "{{\\shpgrp{{\\*\\shpinst{{\\shp{{\\*\\shpinst{{\\shptxt {}}}}}}}}}}}",
)
_STYLES = ("\\pard", "\\pard\\plain\\s1\\outlinelevel0 ", "\\pard\\li720 ", "\\pard\\qc ")
_ITEM = "{\\pntext\\f0 1.\\tab}{\\*\\pn\\pnlvlbody{\\pntxtb q0h}}"


@dataclass
class _Writer:
    random: Random
    count: int = 0
    beside: list[list[str]] = field(default_factory=lambda: [[]])

    def word(self, words: list[str]) -> str:
        self.count += 1
        words.append(f"q{self.count}z")
        return words[-1]

    def inline(self, words: list[str], depth: int) -> str:
        kind = self.random.choice(["plain"] * 3 + ["shown"] * 3 + ["hidden", "note", "box", "torn"])
        if kind == "shown":
            return self.random.choice(_SHOWING).format(self.word(words))
        if kind == "hidden":
            return self.random.choice(_HIDING).format("q0h")
        if kind == "torn":
            whole = self.word(words)
            return f" {whole[:-1]}{self.random.choice(_INVISIBLE)}{whole[-1]} "
        if kind in ("note", "box") and depth < 2:
            forms = _NOTES if kind == "note" else _BOXES
            aside: list[str] = []
            written = "".join(
                self.paragraph(aside, depth + 1) for _ in range(self.random.randint(1, 2))
            )
            self.beside[-1].extend(aside)
            return self.random.choice(forms).format(written)
        return f" {self.word(words)} "

    def content(self, words: list[str], depth: int) -> str:
        """Text of one paragraph or cell; what stands beside it comes after it."""
        return "".join(self.inline(words, depth) for _ in range(self.random.randint(1, 4)))

    def paragraph(self, words: list[str], depth: int) -> str:
        self.beside.append([])
        mark = _ITEM if self.random.random() < 0.2 else ""
        written = self.content(words, depth)
        words.extend(self.beside.pop())
        return f"{self.random.choice(_STYLES)}{mark} {written}\\par\r\n"

    def table(self, words: list[str], depth: int) -> str:
        self.beside.append([])
        rows = []
        for _ in range(self.random.randint(1, 3)):
            width = self.random.randint(1, 3)
            cells = "".join(
                f"\\pard\\intbl {self.content(words, depth)}\\cell" for _ in range(width)
            )
            places = "".join(f"\\cellx{1000 * place}" for place in range(1, width + 1))
            rows.append(f"\\trowd\\trgaph70{places}{cells}\\row\r\n")
        words.extend(self.beside.pop())
        return "".join(rows) + "\\pard "


def random_rtf(random: Random) -> JudgedDocument:
    """A file of a few paragraphs and tables."""
    writer, words = _Writer(random), list[str]()
    body = ""
    for _ in range(random.randint(1, 6)):
        body += writer.table(words, 0) if random.random() < 0.25 else writer.paragraph(words, 0)
        # Two tables without a paragraph between them are one.
        body += "\\pard " + writer.word(words) + "\\par\n"
    rtf = (
        "{\\rtf1\\ansi\\ansicpg1252\\deff0{\\fonttbl{\\f0\\fswiss Arial;}{\\f1{\\*\\falt q0h}B;}}"
        "{\\colortbl;\\red0\\green0\\blue0;}{\\stylesheet{\\s0 q0h;}{\\s1 heading 1;}"
        "{\\*\\cs15 q0h;}}{\\*\\generator q0h;}{\\info{\\author q0h}}\\viewkind4\\uc1\n"
        f"{body}}}"
    )
    return JudgedDocument(rtf.encode("cp1252"), words)
