"""Random Word documents and their visible text: each word occurs once."""

import io
import zipfile
from dataclasses import dataclass, field
from random import Random

from tests.support.judged_documents import JudgedDocument

_SPACES = {
    "w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "m": "http://schemas.openxmlformats.org/officeDocument/2006/math",
    "mc": "http://schemas.openxmlformats.org/markup-compatibility/2006",
    "wps": "http://schemas.microsoft.com/office/word/2010/wordprocessingShape",
    "wp": "http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing",
    "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
    "v": "urn:schemas-microsoft-com:vml",
    "r": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
}
_DECLARED = " ".join(f'xmlns:{prefix}="{space}"' for prefix, space in _SPACES.items())
_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml"
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_MATHS = (
    "<m:f><m:num>{}</m:num><m:den>{}</m:den></m:f>",
    "<m:sSup><m:e>{}</m:e><m:sup>{}</m:sup></m:sSup>",
    "<m:sSub><m:e>{}</m:e><m:sub>{}</m:sub></m:sSub>",
    "<m:sSubSup><m:e>{}</m:e><m:sub>{}</m:sub><m:sup>{}</m:sup></m:sSubSup>",
    "<m:rad><m:deg>{}</m:deg><m:e>{}</m:e></m:rad>",
    "<m:nary><m:naryPr/><m:sub>{}</m:sub><m:sup>{}</m:sup><m:e>{}</m:e></m:nary>",
    "<m:d><m:e>{}</m:e><m:e>{}</m:e></m:d>",
    "<m:func><m:fName>{}</m:fName><m:e>{}</m:e></m:func>",
    "<m:m><m:mr><m:e>{}</m:e><m:e>{}</m:e></m:mr><m:mr><m:e>{}</m:e></m:mr></m:m>",
    "<m:eqArr><m:e>{}</m:e><m:e>{}</m:e></m:eqArr>",
    "<m:limLow><m:e>{}</m:e><m:lim>{}</m:lim></m:limLow>",
    "<m:bar><m:e>{}</m:e></m:bar>",
    "<m:acc><m:e>{}</m:e></m:acc>",
    "<m:sPre><m:sub>{}</m:sub><m:sup>{}</m:sup><m:e>{}</m:e></m:sPre>",
    "<m:box><m:e>{}</m:e></m:box>",
)
_WRAPS = (
    "<w:sdt><w:sdtPr><w:alias w:val='x'/></w:sdtPr><w:sdtContent>{}</w:sdtContent></w:sdt>",
    "<w:smartTag w:element='e'>{}</w:smartTag>",
    "<w:customXml w:element='e'><w:customXmlPr/>{}</w:customXml>",
    "<w:ins w:id='1'>{}</w:ins>",
    "<w:moveTo w:id='1'>{}</w:moveTo>",
)
_BEGIN, _SEPARATE, _END = (
    f"<w:r><w:fldChar w:fldCharType='{kind}'/></w:r>" for kind in ("begin", "separate", "end")
)
_INLINE_WRAPS = (
    *_WRAPS,
    "<w:fldSimple w:instr=' TITLE '>{}</w:fldSimple>",
    "<w:dir w:val='rtl'>{}</w:dir>",
    "<w:bdo w:val='ltr'>{}</w:bdo>",
    "<w:hyperlink w:anchor='here'>{}</w:hyperlink>",
    "<w:hyperlink r:id='rIdGone'>{}</w:hyperlink>",
    _BEGIN + "<w:r><w:instrText>IF</w:instrText></w:r>" + _SEPARATE + "{}" + _END,
)
_HIDING = (
    "<w:del w:id='1'><w:r><w:t>{}</w:t></w:r></w:del>",
    "<w:moveFrom w:id='1'><w:r><w:t>{}</w:t></w:r></w:moveFrom>",
    "<w:r><w:rPr><w:vanish/></w:rPr><w:t>{}</w:t></w:r>",
    "<w:r><w:instrText>{}</w:instrText></w:r>",
    _BEGIN + "<w:r><w:t>{}</w:t></w:r>" + _END,
)


@dataclass
class _Writer:
    random: Random
    shown: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=lambda: {"footnote": [], "endnote": []})
    imported: list[str] = field(default_factory=list)
    in_note: bool = False

    def word(self, words: list[str]) -> str:
        words.append(f"q{len(self.shown) + len(self.hidden)}z")
        return words[-1]

    def run(self) -> str:
        properties = self.random.choice(
            ["", "<w:rPr><w:b/></w:rPr>", "<w:rPr><w:ins w:id='1'/><w:vanish w:val='0'/></w:rPr>"]
        )
        before = self.random.choice(["", "", "<w:tab/>", "<w:br/>", "<w:lastRenderedPageBreak/>"])
        word = self.word(self.shown)
        return f"<w:r>{properties}{before}<w:t xml:space='preserve'> {word} </w:t></w:r>"

    def math(self, depth: int) -> str:
        if depth > 2 or self.random.random() < 0.4:
            return f"<m:r><m:t>{self.word(self.shown)}</m:t></m:r>"
        form = self.random.choice(_MATHS)
        return form.format(*(self.math(depth + 1) for _ in range(form.count("{}"))))

    def inline(self, depth: int) -> str:
        kinds = ["run"] * 4 + ["wrap"] * 3 + ["hidden", "math", "ruby", "box", "choice", "note"]
        kind = self.random.choice(kinds) if depth < 4 else "run"
        if kind == "wrap":
            content = "".join(self.inline(depth + 1) for _ in range(self.random.randint(0, 3)))
            return self.random.choice(_INLINE_WRAPS).format(content)
        if kind == "hidden":
            return self.random.choice(_HIDING).format(self.word(self.hidden))
        if kind == "math":
            return f"<m:oMath>{self.math(0)}{self.math(1)}</m:oMath>"
        if kind == "ruby":
            base, reading = (f"<w:r><w:t>{self.word(self.shown)}</w:t></w:r>" for _ in range(2))
            return (
                f"<w:r><w:ruby><w:rubyPr/><w:rt>{reading}</w:rt>"
                f"<w:rubyBase>{base}</w:rubyBase></w:ruby></w:r>"
            )
        if kind in ("box", "choice"):
            return self.box(depth, twice=kind == "choice")
        return self.note(depth) if kind == "note" and not self.in_note else self.run()

    def box(self, depth: int, *, twice: bool) -> str:
        content = f"<w:txbxContent>{self.blocks(depth + 2)}</w:txbxContent>"
        newer = (
            "<w:drawing><wp:anchor><a:graphic><a:graphicData><wps:wsp><wps:txbx>"
            f"{content}</wps:txbx></wps:wsp></a:graphicData></a:graphic></wp:anchor></w:drawing>"
        )
        older = f"<w:pict><v:shape><v:textbox>{content}</v:textbox></v:shape></w:pict>"
        if not twice:
            return f"<w:r>{self.random.choice([newer, older])}</w:r>"
        return (
            f"<w:r><mc:AlternateContent><mc:Choice Requires='wps'>{newer}</mc:Choice>"
            f"<mc:Fallback>{older}</mc:Fallback></mc:AlternateContent></w:r>"
        )

    def note(self, depth: int) -> str:
        kind = self.random.choice(["footnote", "endnote"])
        self.in_note = True
        self.notes[kind].append(self.blocks(depth + 2))
        self.in_note = False
        return f"<w:r><w:{kind}Reference w:id='{len(self.notes[kind])}'/></w:r>"

    def paragraph(self, depth: int) -> str:
        properties = self.random.choice(
            [
                "",
                "",
                "<w:pPr><w:rPr><w:del w:id='1'/></w:rPr></w:pPr>",
                "<w:pPr><w:pStyle w:val='Heading1'/><w:pPrChange><w:pPr/></w:pPrChange></w:pPr>",
            ]
        )
        content = "".join(self.inline(depth) for _ in range(self.random.randint(0, 4)))
        return f"<w:p>{properties}{content}</w:p>"

    def table(self, depth: int) -> str:
        rows = []
        for _ in range(self.random.randint(1, 3)):
            cells = "".join(
                self.maybe_wrapped(f"<w:tc><w:tcPr/>{self.blocks(depth + 1)}<w:p/></w:tc>")
                for _ in range(self.random.randint(1, 3))
            )
            rows.append(self.maybe_wrapped(f"<w:tr>{cells}</w:tr>", _WRAPS[:1] + _WRAPS[2:3]))
        gone = self.word(self.hidden)
        rows.append(
            "<w:tr><w:trPr><w:del w:id='1'/></w:trPr>"
            f"<w:tc><w:p><w:r><w:t>{gone}</w:t></w:r></w:p></w:tc></w:tr>"
        )
        return f"<w:tbl><w:tblPr/><w:tblGrid/>{''.join(rows)}</w:tbl>"

    def maybe_wrapped(self, xml: str, wraps: tuple[str, ...] = _WRAPS[:1]) -> str:
        return self.random.choice(wraps).format(xml) if self.random.random() < 0.3 else xml

    def block(self, depth: int) -> str:
        kind = self.random.choice(["p"] * 5 + ["tbl", "wrap", "math", "import"])
        if depth > 3 or kind == "p":
            return self.paragraph(depth)
        if kind == "tbl":
            return self.table(depth)
        if kind == "math":
            return f"<m:oMathPara><m:oMath>{self.math(0)}</m:oMath></m:oMathPara>"
        if kind == "import" and not self.in_note:
            self.imported.append(f"<html><body><p>{self.word(self.shown)}</p></body></html>")
            return f"<w:altChunk r:id='rIdImport{len(self.imported)}'/>"
        return self.random.choice(_WRAPS).format(self.blocks(depth + 1))

    def blocks(self, depth: int) -> str:
        return "".join(self.block(depth) for _ in range(self.random.randint(1, 3)))


def random_document(random: Random) -> JudgedDocument:
    """A document of a few blocks, with all wrappers and additions that Word may use."""
    writer = _Writer(random)
    body = "".join(writer.block(0) for _ in range(random.randint(1, 5)))
    parts = {
        "word/document.xml": f"<w:document {_DECLARED}><w:body>{body}<w:p/><w:sectPr/></w:body>"
        "</w:document>"
    }
    for kind, notes in writer.notes.items():
        written = "".join(
            f"<w:{kind} w:id='{number}'>{note}</w:{kind}>" for number, note in enumerate(notes, 1)
        )
        unused = (
            f"<w:{kind} w:id='99'><w:p><w:r><w:t>{writer.word(writer.hidden)}</w:t></w:r></w:p>"
        )
        parts[f"word/{kind}s.xml"] = (
            f"<w:{kind}s {_DECLARED}>{written}{unused}</w:{kind}></w:{kind}s>"
        )
    return JudgedDocument(_package(parts, writer.imported), writer.shown)


def _package(parts: dict[str, str], imported: list[str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        package.writestr("[Content_Types].xml", _content_types())
        package.writestr(
            "_rels/.rels", _relations({"rId1": ("officeDocument", "word/document.xml")})
        )
        relations = {
            "rIdF": ("footnotes", "footnotes.xml"),
            "rIdE": ("endnotes", "endnotes.xml"),
            **{
                f"rIdImport{number}": ("aFChunk", f"import{number}.html")
                for number in range(1, len(imported) + 1)
            },
        }
        package.writestr("word/_rels/document.xml.rels", _relations(relations))
        for name, content in parts.items():
            package.writestr(name, content)
        for number, content in enumerate(imported, 1):
            package.writestr(f"word/import{number}.html", content)
    return out.getvalue()


def _content_types() -> str:
    overrides = "".join(
        f"<Override PartName='/word/{name}.xml' ContentType='{_TYPE}.{kind}+xml'/>"
        for name, kind in (
            ("document", "document.main"),
            ("footnotes", "footnotes"),
            ("endnotes", "endnotes"),
        )
    )
    return (
        "<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'>"
        "<Default Extension='rels' "
        "ContentType='application/vnd.openxmlformats-package.relationships+xml'/>"
        "<Default Extension='html' ContentType='text/html'/>"
        f"<Default Extension='xml' ContentType='application/xml'/>{overrides}</Types>"
    )


def _relations(relations: dict[str, tuple[str, str]]) -> str:
    written = "".join(
        f"<Relationship Id='{name}' Type='{_RELATION}/{kind}' Target='{target}'/>"
        for name, (kind, target) in relations.items()
    )
    space = "http://schemas.openxmlformats.org/package/2006/relationships"
    return f"<Relationships xmlns='{space}'>{written}</Relationships>"
