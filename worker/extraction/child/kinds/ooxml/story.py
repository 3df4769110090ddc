"""Reduces a Word text to what Word shows, in the few elements that readers know.

Word calls a separate text a story: the body, a header, a note. Each step is one pass over it.
Hidden and deleted text is removed, wrappers are removed, and content beside the text (boxes,
charts, notes) is put after the paragraph that it is anchored to.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from docx.oxml.parser import OxmlElement

from docmill.worker.extraction.child.kinds.ooxml import graphics
from docmill.worker.extraction.child.kinds.ooxml.alternatives import (
    keep_one_alternative,
    replace_with,
)
from docmill.worker.extraction.child.kinds.ooxml.equations import linear
from docmill.worker.extraction.child.kinds.ooxml.hidden_shapes import drop_hidden_shapes
from docmill.worker.extraction.child.kinds.ooxml.names import CX, DGM, A, C, M, W, is_on
from docmill.worker.extraction.child.kinds.ooxml.symbols import symbol

#: Marks for a paragraph that begins a note, and for one that replaces an imported part.
NOTE, IMPORTED = "docmill-note", "docmill-imported"

_REMOVED = frozenset({f"{W}del", f"{W}moveFrom"})
_FORMER = tuple(
    f"{W}{name}Change"
    for name in ["numbering", "pPr", "rPr", "sectPr", "tblGrid", "tblPr", "tblPrEx", "tcPr", "trPr"]
)
_WRAPPERS = tuple(
    f"{W}{name}"
    for name in ["bdo", "customXml", "dir", "fldSimple", "ins", "moveTo", "sdt", "smartTag"]
)
#: Elements in a wrapper that are not its content.
_ABOUT_WRAPPERS = frozenset(
    f"{W}{name}" for name in ["customXmlPr", "fldData", "sdtEndPr", "sdtPr", "smartTagPr"]
)
_KEPT_WHERE_HIDDEN = frozenset(
    f"{W}{name}" for name in ("rPr", "fldChar", "instrText", "lastRenderedPageBreak")
)
_BESIDE = (
    f"{W}txbxContent",
    f"{W}footnoteReference",
    f"{W}endnoteReference",
    f"{W}commentReference",
    f"{A}txBody",
    f"{C}chart",
    f"{CX}chart",
    f"{DGM}relIds",
)
_REFERENCES = frozenset(f"{W}{kind}Reference" for kind in ("footnote", "endnote", "comment"))
_INLINE = frozenset({f"{W}p", f"{W}hyperlink"})

#: Returns the paragraphs of a note at its first reference, and puts its mark there.
TakeNote = Callable[[Any], list[Any]]


def simplify(
    root: Any,
    *,
    hidden_styles: frozenset[str] = frozenset(),
    find_part: graphics.FindPart,
    take_note: TakeNote | None = None,
) -> None:
    """Keep only paragraphs, runs and tables in a story, with the content that Word shows."""
    keep_one_alternative(root)
    drop_hidden_shapes(root)
    joined = _drop_deleted(root)
    _drop_hidden(root, hidden_styles)
    _unwrap(root)
    _join(joined)
    _drop_instructions(root)
    _write_out(root)
    _set_beside(root, find_part, take_note)


def _drop_deleted(root: Any) -> list[Any]:
    """Drop text that was deleted or moved away. Returns paragraphs whose end was deleted."""
    joined = []
    for change in list(root.iter(*_REMOVED, f"{W}cellDel", *_FORMER)):
        place = change.getparent()
        if place is None:
            continue
        if change.tag == f"{W}cellDel":
            _empty(place.getparent())
        elif change.tag in _REMOVED and place.tag == f"{W}trPr":
            _remove(place.getparent())
        elif change.tag in _REMOVED and _is_mark(place):
            joined.append(place.getparent().getparent())
        else:
            place.remove(change)
    return joined


def _is_mark(properties: Any) -> bool:
    """Whether these are properties of the end mark of a paragraph."""
    above = properties.getparent()
    return properties.tag == f"{W}rPr" and above is not None and above.tag == f"{W}pPr"


def _remove(node: Any) -> None:
    if node is not None and node.getparent() is not None:
        node.getparent().remove(node)


def _empty(cell: Any) -> None:
    if cell is not None:
        for child in [child for child in cell if child.tag != f"{W}tcPr"]:
            cell.remove(child)


def _drop_hidden(root: Any, hidden_styles: frozenset[str]) -> None:
    """Drop hidden text, and hidden rows of tables."""
    for hidden in list(root.iter(f"{W}hidden")):
        row = hidden.getparent()
        if row is not None and row.tag == f"{W}trPr" and is_on(hidden.get(f"{W}val")):
            _remove(row.getparent())
    for run in list(_hidden_runs(root, hidden_styles)):
        for child in list(run):
            if child.tag not in _KEPT_WHERE_HIDDEN:
                run.remove(child)


def _hidden_runs(root: Any, hidden_styles: frozenset[str]) -> Iterator[Any]:
    if hidden_styles:
        yield from (run for run in root.iter(f"{W}r") if _is_hidden(run, hidden_styles))
        return
    for hidden in root.iter(f"{W}vanish"):
        run = hidden.getparent().getparent()
        # In other places it hides the end of a paragraph, or defines a style.
        if run is not None and run.tag in (f"{W}r", f"{M}r") and is_on(hidden.get(f"{W}val")):
            yield run


def _is_hidden(run: Any, hidden_styles: frozenset[str]) -> bool:
    """Whether a run is hidden, by itself, by its style or by its paragraph's style."""
    own = run.find(f"{W}rPr/{W}vanish")
    if own is not None:
        return is_on(own.get(f"{W}val"))
    style = run.find(f"{W}rPr/{W}rStyle")
    if style is not None and style.get(f"{W}val") in hidden_styles:
        return True
    paragraph = next(run.iterancestors(f"{W}p"), None)
    style = paragraph.find(f"{W}pPr/{W}pStyle") if paragraph is not None else None
    return style is not None and style.get(f"{W}val") in hidden_styles


def hidden_styles(styles: Any) -> frozenset[str]:
    """Names of the styles that hide text, by themselves or by their base styles."""
    hides: dict[str, bool] = {}
    bases: dict[str, str] = {}
    for style in styles.iter(f"{W}style"):
        name = style.get(f"{W}styleId", "")
        base, own = style.find(f"{W}basedOn"), style.find(f"{W}rPr/{W}vanish")
        if base is not None:
            bases[name] = base.get(f"{W}val", "")
        if own is not None:
            hides[name] = is_on(own.get(f"{W}val"))
    if not any(hides.values()):
        return frozenset()
    return frozenset(name for name in {*hides, *bases} if _inherits(name, hides, bases))


def _inherits(name: str, hides: dict[str, bool], bases: dict[str, str]) -> bool:
    seen: set[str] = set()
    # Word refuses longer chains.
    while name not in hides and name in bases and name not in seen and len(seen) < 20:
        seen.add(name)
        name = bases[name]
    return hides.get(name, False)


def _unwrap(root: Any) -> None:
    for wrapper in list(root.iter(*_WRAPPERS)):
        content = [wrapper]
        if wrapper.tag == f"{W}sdt":
            content = list(wrapper.iterchildren(f"{W}sdtContent"))
        children = [child for holder in content for child in holder]
        replace_with(wrapper, [child for child in children if child.tag not in _ABOUT_WRAPPERS])
    for link in list(root.iter(f"{W}hyperlink")):
        if next(link.iterancestors(f"{W}hyperlink"), None) is not None:
            replace_with(link, list(link))


def _join(paragraphs: list[Any]) -> None:
    """Join paragraphs whose end was deleted with the next one; the next one gives the kind."""
    # From the last one back, so that joined content is not moved again.
    for paragraph in reversed(paragraphs):
        follower = paragraph.getnext()
        if paragraph.getparent() is None or follower is None or follower.tag != f"{W}p":
            continue
        if follower.get(IMPORTED) is not None:
            continue
        first = 1 if len(follower) and follower[0].tag == f"{W}pPr" else 0
        for child in [child for child in reversed(paragraph) if child.tag != f"{W}pPr"]:
            follower.insert(first, child)
        _remove(paragraph)


def _drop_instructions(root: Any) -> None:
    """Drop results of fields that are part of another field's instruction."""
    has_result: list[bool] = []  # for each open field
    instructions: list[list[Any]] = []  # text in fields without a result so far
    for node in list(root.iter(f"{W}fldChar", f"{W}t", f"{W}sym")):
        kind = node.get(f"{W}fldCharType") if node.tag == f"{W}fldChar" else "text"
        if kind == "text" and instructions:
            instructions[-1].append(node)
        elif kind == "begin":
            has_result.append(False)
            instructions.append([])
        elif kind in ("separate", "end") and has_result:
            # Only a complete instruction counts, so that a damaged file does not lose its rest.
            for text in () if has_result[-1] else instructions.pop():
                _remove(text)
            has_result[-1] = True
            if kind == "end":
                has_result.pop()


def _write_out(root: Any) -> None:
    """Write equations, ruby, symbols and chosen entries of forms as text."""
    for ruby in list(root.iter(f"{W}ruby")):
        base, reading = (_texts(ruby.iterchildren(f"{W}{part}")) for part in ("rubyBase", "rt"))
        put_text(ruby, f"{base}({reading})" if reading else base)
    for sign in list(root.iter(f"{W}sym")):
        put_text(sign, symbol(sign.get(f"{W}font", ""), sign.get(f"{W}char", "")))
    for equation in list(root.iter(f"{M}oMathPara", f"{M}oMath")):
        if next(equation.iterancestors(f"{M}oMathPara", f"{M}oMath"), None) is None:
            put_text(equation, linear(equation))


def _texts(nodes: Iterable[Any]) -> str:
    return "".join(text.text or "" for node in nodes for text in node.iter(f"{W}t"))


def put_text(node: Any, text: str) -> None:
    """Replace a node by text, wrapped as its surroundings require."""
    new = OxmlElement("w:t")
    new.text = text
    above = node.getparent()
    if above.tag != f"{W}r":
        new = _wrapped("w:r", [new])
    if above.tag != f"{W}r" and above.tag not in _INLINE:
        new = _wrapped("w:p", [new])
    replace_with(node, [new])


def _wrapped(name: str, children: Iterable[Any]) -> Any:
    wrapper = OxmlElement(name)
    wrapper.extend(children)
    return wrapper


def paragraph_of(text: str) -> Any:
    """A new paragraph with a text."""
    new = OxmlElement("w:t")
    new.text = text
    return _wrapped("w:p", [_wrapped("w:r", [new])])


def _set_beside(root: Any, find_part: graphics.FindPart, take_note: TakeNote | None) -> None:
    """Move content beside a paragraph after it, in the order of the references."""
    last: dict[Any, Any] = {}
    for node in list(root.iter(*_BESIDE)):
        anchor = next(node.iterancestors(f"{W}p"), None)
        if anchor is None:
            continue
        for block in _blocks_of(node, find_part, take_note):
            last.get(anchor, anchor).addnext(block)
            last[anchor] = block
        if node.tag == f"{W}txbxContent":
            _remove(node)


def _blocks_of(node: Any, find_part: graphics.FindPart, take_note: TakeNote | None) -> list[Any]:
    if node.tag == f"{W}txbxContent":
        return list(node)
    if node.tag in _REFERENCES:
        return take_note(node) if take_note is not None else []
    if node.tag == f"{A}txBody":
        return [paragraph_of(text) for text in graphics.paragraphs(node)]
    return [paragraph_of(line) for line in graphics.lines_of(node, find_part)]
