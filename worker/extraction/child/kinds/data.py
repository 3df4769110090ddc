"""Records: CSV, JSON, JSON lines, XML."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from html import unescape
from itertools import chain, islice, pairwise
from typing import Any, NamedTuple, TypeVar

from lxml import etree  # type: ignore[import-untyped]  # ships no types

from docmill.worker.errors import JobError
from docmill.worker.extraction.child.encodings import decode, plain_newlines
from docmill.worker.extraction.child.kinds import cuts
from docmill.worker.extraction.child.kinds.base import Reading, Source
from docmill.worker.extraction.child.kinds.grouping import GROUP_CHARACTERS, grouped
from docmill.worker.extraction.child.kinds.markup import text_of_markup
from docmill.worker.extraction.child.kinds.tables import TableForm, continued, table_elements
from docmill.worker.models import Element

Item = TypeVar("Item")

#: Text that ends with an HTML tag, or begins with one that needs no end tag.
_MARKUP = re.compile(
    r"</(?:a|b|p|i|em|li|ul|ol|td|div|span|code|strong|h[1-6]|blockquote)\s*>|<(?:br|hr|img)\b[^<>]*>",
    re.IGNORECASE,
)
_SNIFF_CHARACTERS = 16 * 1024
_MAX_FIELD_CHARACTERS = 10 * 1024 * 1024
#: This many records of a window get elements of their own.
_SEPARATE_RECORDS = 10_000
#: Records nested more deeply than this are cut like the innermost of these levels.
_MOST_LEVELS = 8
#: How many nested dictionaries around a list of records are taken apart.
_MOST_WRAPPERS = 4
#: How much text entities may make, and how deep they may be nested.
_MAX_ENTITY_CHARACTERS, _MAX_ENTITY_DEPTH = 1_000_000, 20
_REFERENCE = re.compile(r"&([^\W\d][\w.-]*);")
#: A longer path is written once, and not before each value below it; a longer XML name is cut.
_LONG_PATH = 300


def read_delimited(source: Source) -> Reading:
    """Rows in groups, each group under the header."""
    csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    file = cuts.TextFile.of(source)
    context = source.context if source.window else _table_context(file)
    delimiter, form = context["delimiter"], TableForm(*context["form"])
    starts = () if source.window else tuple(_in_range(_row_starts(file, delimiter)))
    windows = (
        table_elements(_rows(file.text(begin, end), delimiter), caption_depth=0)
        if begin == file.begin
        else continued(_rows(file.text(begin, end), delimiter), form)
        for begin, end in source.wanted(starts)
    )
    elements = _in_range(chain.from_iterable(windows))
    return Reading(elements, starts=starts, context=context)


def _table_context(file: cuts.TextFile) -> dict[str, Any]:
    """The facts about a table for each of its windows."""
    start = file.text(file.begin, file.begin + _SNIFF_CHARACTERS)
    delimiter = _delimiter(start)
    first_window = file.text(file.begin, file.begin + cuts.WINDOW_BYTES)
    form = TableForm.of(_in_range(_rows(first_window, delimiter)))
    return {**file.context, "delimiter": delimiter, "form": [form.category, form.repeated]}


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    # The csv module fails at NUL and at a lone CR; newline=None turns every line end into a
    # newline.
    lines = io.StringIO(text.replace("\x00", ""), newline=None)
    return csv.reader(lines, delimiter=delimiter)


def _row_starts(file: cuts.TextFile, delimiter: str) -> Iterator[int]:
    """Where the windows begin: between two rows. A line may end within a cell in quotes."""
    if not file.is_cuttable:
        yield file.begin
        return
    if not _has_quotes(file):
        yield from cuts.starts_of(file, cuts.at_line_end)
        return
    yield file.begin
    place: int | None = None
    last = file.begin

    def lines() -> Iterator[str]:
        nonlocal place
        for end, line in file.all_lines():
            text = file.encoding.decode(line).replace("\x00", "")
            *inner, last_line = list(io.StringIO(text, newline=None)) or [""]
            place = None  # a lone CR also ends a line, but no window can begin after it
            yield from inner
            place = end
            yield last_line

    for _row in csv.reader(lines(), delimiter=delimiter):
        if place is not None and place < file.size and place - last >= file.window_bytes:
            yield place
            last = place


def _has_quotes(file: cuts.TextFile) -> bool:
    quote = '"'.encode(file.encoding.name)
    return any(quote in block for block in file.blocks())


def _in_range(elements: Iterable[Item]) -> Iterator[Item]:
    try:
        yield from elements
    except csv.Error as error:
        if "field larger" in str(error):
            raise JobError("document_too_large", "a field of a table") from None
        raise


def _delimiter(text: str) -> str:
    """The delimiter on which most lines at the beginning agree."""
    lines = [line for line in text[:_SNIFF_CHARACTERS].splitlines() if line.strip()][:50]

    def agreement(delimiter: str) -> tuple[int, int]:
        counts = [line.count(delimiter) for line in lines]
        usual = max(set(counts), key=counts.count, default=0)
        return (counts.count(usual) if usual else 0, usual)

    return max(",\t;|", key=agreement)


def read_json(source: Source) -> Reading:
    """One element or more for each top-level item, as lines of `path: value`.

    unstructured's own reader is not used: it would take JSON in the form of its elements for
    elements, and trust the metadata that the uploader wrote there.
    """
    text = decode(source.read())
    try:
        value = _parsed_json(text)
    except RecursionError:
        raise JobError("corrupt", "nested too deeply") from None
    except ValueError:
        # JSON with comments, cut off, or with several values is still searchable text.
        return Reading(_json_lines(text))
    return Reading(_record_elements(_items(value)))


def read_json_lines(source: Source) -> Reading:
    """Like `read_json`, for a file with one value in each line."""
    file = cuts.TextFile.of(source)
    starts = () if source.window else cuts.starts_of(file, cuts.at_line_end)
    windows = (_json_lines(file.text(*bounds)) for bounds in source.wanted(starts))
    return Reading(chain.from_iterable(windows), starts=starts, context=file.context)


def _parsed_json(text: str) -> Any:
    """The value, with numbers as they are written: `1.50`, and any number of digits."""
    return json.loads(text, parse_float=str, parse_int=str, object_pairs_hook=_every_value)


def _every_value(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dictionary; the values of a key that is written several times become a list."""
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    all_values: dict[str, list[Any]] = {}
    for key, value in pairs:
        all_values.setdefault(key, []).append(value)
    return {key: found if len(found) > 1 else found[0] for key, found in all_values.items()}


def _json_lines(text: str) -> Iterator[Element]:
    # Other characters that end lines elsewhere may be within a value.
    lines = filter(str.strip, plain_newlines(text).split("\n"))
    return _record_elements(map(_json_line, lines))


def _json_line(line: str) -> Any:
    try:
        return _parsed_json(line)
    except (ValueError, RecursionError):
        return line


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return chain.from_iterable(
            _records(key, item, _MOST_WRAPPERS) for key, item in value.items()
        )
    return [value]


def _records(path: str, value: Any, levels: int) -> Iterator[Any]:
    """The value of a key: each record of a list by itself, anything else as one record.

    The answer of a server often has its records in a list under keys like `data.items`.
    Dictionaries around such a list are taken apart.
    """
    if _is_list_of_records(value):
        yield from ({path: item} for item in value)
    elif _wraps_records(value, levels):
        for key, item in value.items():
            yield from _records(f"{path}.{key}", item, levels - 1)
    else:
        yield {path: value}


def _wraps_records(value: Any, levels: int) -> bool:
    return (
        levels > 0
        and isinstance(value, dict)
        and any(
            _is_list_of_records(item) or _wraps_records(item, levels - 1) for item in value.values()
        )
    )


def _is_list_of_records(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _record_elements(records: Iterable[Any]) -> Iterator[Element]:
    """Elements of each record. After very many, several whole ones share an element."""
    pieces = chain.from_iterable(map(_pieces, records))
    yield from (Element("Text", piece) for piece in islice(pieces, _SEPARATE_RECORDS))
    yield from (Element("Text", group) for group in grouped(pieces, "\n"))


def _pieces(record: Any) -> Iterator[str]:
    """The lines of a record in one piece; of a long one in several, cut where records in it begin.

    The outermost of these places come first. Only a record without records in it that is still too
    long is cut between any two lines.
    """
    whole = list(_flat_lines(record))
    segments = [whole] if whole else []
    while segments:
        lines = segments.pop()
        levels = [line.begins for line in lines[1:] if line.begins]
        if sum(len(line.text) + 1 for line in lines) <= GROUP_CHARACTERS:
            yield "\n".join(line.text for line in lines)
        elif not levels:
            yield from grouped((line.text for line in lines), "\n")
        else:
            outermost = min(levels)
            places = [n for n, line in enumerate(lines) if n and line.begins == outermost]
            parts = pairwise([0, *places, len(lines)])
            segments += reversed([lines[begin:end] for begin, end in parts])


class _Line(NamedTuple):
    """A line of a record."""

    text: str
    begins: int  #: how deep among nested records one begins here; 0: none does


def _flat_lines(value: Any) -> Iterator[_Line]:
    """Lines `path: value` for everything inside a value. Uses its own stack, so any depth works."""
    stack: list[tuple[str, Any, int, bool]] = [("", value, 0, False)]
    begins = 0
    while stack:
        path, current, level, is_record = stack.pop()
        begins = level if is_record and not begins else begins
        if len(path) > _LONG_PATH and isinstance(current, (dict, list)) and len(current) > 1:
            yield _Line(path, begins)
            path, begins = "", 0
        if isinstance(current, (dict, list)):
            are_records = _holds_records(current)
            inner = min(level + are_records, _MOST_LEVELS)
            stack.extend(
                (below, item, inner, are_records) for below, item in reversed(_below(path, current))
            )
        elif current is not None and current != "":
            shown = current if isinstance(current, str) else json.dumps(current)
            yield _Line(f"{path}: {shown}" if path else shown, begins)
            begins = 0


def _below(path: str, current: Any) -> list[tuple[str, Any]]:
    if isinstance(current, list):
        return [(path, item) for item in current]
    return [(f"{path}.{key}" if path else key, item) for key, item in current.items()]


def _holds_records(value: Any) -> bool:
    """Whether each item is a record: a list with dictionaries, or several dictionaries by name."""
    if isinstance(value, dict):
        return len(value) > 1 and all(isinstance(item, dict) for item in value.values())
    return _is_list_of_records(value)


def _text_elements(lines: Iterable[str]) -> Iterator[Element]:
    return (Element("Text", group) for group in grouped(lines, "\n"))


def read_xml(source: Source) -> Reading:
    """The text of the elements below the root, one group of `tag: text` lines for each.

    Entities that the file itself declares are resolved, and nothing is loaded from outside. A file
    that breaks the rules of XML is an XMLSyntaxError before anything is shown. Raises JobError for
    a file whose entities multiply, or that is nested deeper than 256 levels.
    """
    return Reading(iter(list(_xml_elements(source))))


def _xml_elements(source: Source) -> Iterator[Element]:
    events = etree.iterparse(
        source.file,
        events=("start", "end"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
    )
    depth = 0
    entities = _Entities()
    for event, node in _with_codes(events):
        depth += 1 if event == "start" else -1
        if event == "end" and depth <= 1:
            entities.resolve(node)
        if event == "end" and depth == 1:
            yield from _text_elements(chain(_text_before(node), _xml_lines(node)))
            node.clear(keep_tail=True)
        elif event == "end" and depth == 0:
            yield from _text_elements(_texts([node.text, *(child.tail for child in node)]))


class _Entities:
    """The entities that a file declares for itself, and how much text they may still make."""

    def __init__(self) -> None:
        self._left = _MAX_ENTITY_CHARACTERS
        self._declared: dict[str, str] | None = None

    def resolve(self, node: Any) -> None:
        """Replace the entities in a node by their text; those from outside by nothing."""
        for entity in node.iter(etree.Entity):
            if self._declared is None:
                self._declared = self._declarations(node)
            entity.tail = self._text(entity.name, 0) + (entity.tail or "")
        etree.strip_tags(node, etree.Entity)

    def _declarations(self, node: Any) -> dict[str, str]:
        inside = node.getroottree().docinfo.internalDTD
        entities = inside.iterentities() if inside is not None else ()
        return {entity.name: entity.content or "" for entity in entities}

    def _text(self, name: str, depth: int) -> str:
        content = (self._declared or {}).get(name)
        if content is None:
            # A name of HTML, which the file would load from outside.
            known = unescape(f"&{name};")
            return known if known != f"&{name};" else ""
        pieces = _REFERENCE.split(content)
        self._left -= len(content)
        if self._left < 0 or depth > _MAX_ENTITY_DEPTH:
            raise JobError("corrupt", "entities multiply")
        shown = (
            self._text(piece, depth + 1) if place % 2 else unescape(piece)
            for place, piece in enumerate(pieces)
        )
        return "".join(shown)


def _with_codes(events: Iterator[Any]) -> Iterator[Any]:
    """The events. What libxml2 refuses although it follows the rules of XML gets a code."""
    try:
        yield from events
    except etree.XMLSyntaxError as error:
        reason = str(error).lower()
        if "entity" in reason and ("amplification" in reason or "loop" in reason):
            raise JobError("corrupt", "entities multiply") from None
        if "depth" in reason:
            raise JobError("corrupt", "nested too deeply") from None
        if "huge" in reason:
            raise JobError("document_too_large", "a text of 10 MB") from None
        raise


def _text_before(node: Any) -> Iterator[str]:
    """Text of the root between the last element and this one; frees everything before it.

    Otherwise the tree would grow to the size of the file and more.
    """
    root = node.getparent()
    between = [root.text]
    root.text = None
    while root[0] is not node:
        between.append(root[0].tail)
        del root[0]
    yield from _texts(between)


def _xml_lines(node: Any) -> Iterator[str]:
    """One line for each element that holds text, mixed content in one piece."""
    stack = [node]
    while stack:
        current = stack.pop()
        children = list(current)
        if children and not _has_own_text(current, children):
            stack.extend(reversed(children))
            continue
        yield from _xml_leaf_lines(current)


def _xml_leaf_lines(leaf: Any) -> Iterator[str]:
    """The text of an element, or its attributes if it has no text."""
    name = etree.QName(leaf).localname[:_LONG_PATH]
    text = " ".join(_without_tags("".join(leaf.itertext())).split())
    if text:
        yield f"{name}: {text}"
        return
    for attribute, value in leaf.attrib.items():
        yield f"{name}.{etree.QName(attribute).localname}: {value}"


def _without_tags(text: str) -> str:
    """The text of HTML that an element holds as text, as in feeds and exports."""
    return text_of_markup(text) if _MARKUP.search(text) else text


def _has_own_text(node: Any, children: list[Any]) -> bool:
    return any((text or "").strip() for text in [node.text, *(child.tail for child in children)])


def _texts(texts: Iterable[str | None]) -> Iterator[str]:
    return filter(None, (" ".join((text or "").split()) for text in texts))
