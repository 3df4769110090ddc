"""Random slides with shapes, groups, tables and notes, and the words that a viewer shows."""

import io
import re
import zipfile
from dataclasses import dataclass, field
from random import Random

import pptx

from tests.support.judged_documents import JudgedDocument

_NAMES = (
    "xmlns:a='http://schemas.openxmlformats.org/drawingml/2006/main' "
    "xmlns:p='http://schemas.openxmlformats.org/presentationml/2006/main' "
    "xmlns:r='http://schemas.openxmlformats.org/officeDocument/2006/relationships' "
    "xmlns:mc='http://schemas.openxmlformats.org/markup-compatibility/2006' "
    "xmlns:a14='http://schemas.microsoft.com/office/drawing/2010/main'"
)
_TABLE = "http://schemas.openxmlformats.org/drawingml/2006/table"
_RUNS = (
    "<a:r><a:t>{}</a:t></a:r>",
    "<a:r><a:rPr lang='en-US' b='1'><a:hlinkClick r:id=''/></a:rPr><a:t> {} </a:t></a:r>",
    "<a:fld id='{{1}}' type='slidenum'><a:rPr/><a:pPr/><a:t>{}</a:t></a:fld>",
    "<a:br/><a:r><a:t>{}</a:t></a:r><a:br><a:rPr/></a:br>",
    "<a:r><a:t/></a:r><a:r><a:t>{}</a:t></a:r>",
)
#: The height of a shape; far less than that of a slide, so that forty find room.
_STEP = 100_000
_PLACE = "<a:off x='{x}' y='{y}'/><a:ext cx='90000' cy='90000'/>"


@dataclass
class _Writer:
    random: Random
    shown: list[str] = field(default_factory=list)
    shapes: int = 1

    def word(self) -> str:
        self.shown.append(f"q{len(self.shown) + 1}z")
        return self.shown[-1]

    def identity(self, more: str = "") -> str:
        self.shapes += 1
        return f"<p:cNvPr id='{self.shapes}' name='q0h' descr='q0h'{more}/>"

    def paragraphs(self, word: str = "") -> str:
        written = ""
        for _ in range(self.random.randint(1, 3)):
            runs = "".join(
                self.random.choice(_RUNS).format(word or self.word())
                for _ in range(self.random.randint(0, 3))
            )
            written += f"<a:p><a:pPr lvl='{self.random.randint(0, 2)}'/>{runs}<a:endParaRPr/></a:p>"
        return f"<a:bodyPr/><a:lstStyle/>{written}"

    def box(self, x: int, y: int, word: str = "", hidden: str = "") -> str:
        return (
            f"<p:sp><p:nvSpPr>{self.identity(hidden)}<p:cNvSpPr txBox='1'/><p:nvPr/></p:nvSpPr>"
            f"<p:spPr><a:xfrm>{_PLACE.format(x=x, y=y)}</a:xfrm><a:prstGeom prst='rect'/></p:spPr>"
            f"<p:txBody>{self.paragraphs(word)}</p:txBody></p:sp>"
        )

    def table(self, x: int, y: int) -> str:
        width = self.random.randint(1, 3)
        rows = ""
        for _ in range(self.random.randint(1, 3)):
            cells = "".join(
                f"<a:tc><a:txBody>{self.paragraphs()}</a:txBody><a:tcPr/></a:tc>"
                for _ in range(width)
            )
            rows += f"<a:tr h='1'>{cells}</a:tr>"
        grid = "<a:gridCol w='1'/>" * width
        return (
            f"<p:graphicFrame><p:nvGraphicFramePr>{self.identity()}<p:cNvGraphicFramePr/><p:nvPr/>"
            f"</p:nvGraphicFramePr><p:xfrm>{_PLACE.format(x=x, y=y)}</p:xfrm><a:graphic>"
            f"<a:graphicData uri='{_TABLE}'><a:tbl><a:tblPr/><a:tblGrid>{grid}</a:tblGrid>{rows}"
            "</a:tbl></a:graphicData></a:graphic></p:graphicFrame>"
        )

    def group(self, x: int, y: int, depth: int) -> str:
        """Shapes in a group, whose own coordinates begin anywhere and have another size."""
        left, top = self.random.choice([(x, y), (0, 0), (5_000_000, 5_000_000)])
        size = _STEP if depth else 4 * _STEP
        frame = (
            f"<a:off x='{x}' y='{y}'/><a:ext cx='{size}' cy='{size}'/>"
            f"<a:chOff x='{left}' y='{top}'/><a:chExt cx='{8 * _STEP}' cy='{8 * _STEP}'/>"
        )
        inner = "".join(
            self.shape(left + 10, top + number * 2 * _STEP, depth + 1)
            for number in range(self.random.randint(1, 3))
        )
        return (
            f"<p:grpSp><p:nvGrpSpPr>{self.identity()}<p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr>"
            f"<p:grpSpPr><a:xfrm>{frame}</a:xfrm></p:grpSpPr>{inner}</p:grpSp>"
        )

    def hidden_shape(self, x: int, y: int) -> str:
        kind = self.random.choice(["box", "group", "beside", "picture"])
        if kind == "beside":
            return self.box(-9_000_000, y, "q0h")
        if kind == "picture":
            return (
                f"<p:pic><p:nvPicPr>{self.identity()}<p:cNvPicPr/><p:nvPr/></p:nvPicPr>"
                "<p:blipFill><a:stretch/></p:blipFill>"
                f"<p:spPr><a:xfrm>{_PLACE.format(x=x, y=y)}</a:xfrm></p:spPr></p:pic>"
            )
        box = self.box(x, y, "q0h", " hidden='1'" if kind == "box" else "")
        if kind == "box":
            return box
        return (
            f"<p:grpSp><p:nvGrpSpPr>{self.identity(' hidden=' + chr(39) + 'true' + chr(39))}"
            f"<p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>{box}</p:grpSp>"
        )

    def shape(self, x: int, y: int, depth: int) -> str:
        kind = self.random.choice(["box"] * 3 + ["table", "group", "hidden", "choice"])
        if kind == "hidden" and depth == 0:
            return self.hidden_shape(x, y)
        if kind == "table":
            return self.table(x, y)
        if kind == "group" and depth < 2:
            return self.group(x, y, depth)
        if kind == "choice":
            return (
                f"<mc:AlternateContent><mc:Choice Requires='a14'>{self.box(x, y)}</mc:Choice>"
                f"<mc:Fallback>{self.box(x, y, 'q0h')}</mc:Fallback></mc:AlternateContent>"
            )
        return self.box(x, y)


def random_slides(random: Random) -> JudgedDocument:
    """A presentation of one to three slides. Shapes stand one below the other."""
    deck = pptx.Presentation()
    writer = _Writer(random)
    trees = []
    for _ in range(random.randint(1, 3)):
        slide = deck.slides.add_slide(deck.slide_layouts[6])
        if random.random() < 0.3:
            slide.notes_slide.notes_text_frame.text = f"{writer.word()}\n{writer.word()}"
        # A group takes the height of four.
        shapes = [writer.shape(10, 5 * number * _STEP, 0) for number in range(random.randint(0, 5))]
        trees.append("".join(shapes))
    out = io.BytesIO()
    deck.save(out)
    return JudgedDocument(_with_shapes(out.getvalue(), trees), writer.shown)


def _with_shapes(data: bytes, trees: list[str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if found := re.fullmatch(r"ppt/slides/slide(\d+)\.xml", name):
                written = f"{trees[int(found[1]) - 1]}</p:spTree>"
                content = content.replace(b"</p:spTree>", written.encode())
                content = content.replace(b"<p:sld ", f"<p:sld {_NAMES} ".encode(), 1)
                declared = rb"(<p:sld [^>]*?)( xmlns:[apr]=\"[^\"]*\")+"
                content = re.sub(declared, rb"\1", content, count=1)
            new.writestr(name, content)
    return out.getvalue()
