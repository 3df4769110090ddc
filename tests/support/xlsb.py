"""Writes the smallest XLSB that a reader accepts: [MS-XLSB], one record after the other."""

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPES = (
    f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="bin" '
    'ContentType="application/vnd.ms-excel.sheet.binary.macroEnabled.main"/></Types>'
)
_VISIBLE, _HIDDEN = 0, 1


def _record(kind: int, data: bytes = b"") -> bytes:
    """Number and size in groups of seven bits, then the data."""
    return _groups(kind) + _groups(len(data)) + data


def _groups(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])


def _text(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode("utf-16-le")


@dataclass(frozen=True)
class Styled:
    """A number in the format of a style."""

    value: float
    style: int


Cell = str | float | bool | Styled


@dataclass(frozen=True)
class Shape:
    """What a sheet has beside its rows, all counted from 0."""

    hidden_rows: Sequence[int] = ()
    hidden_columns: Sequence[int] = ()
    merged: Sequence[tuple[int, int, int, int]] = ()  #: first and last row, first and last column


def _sheet(rows: Sequence[Sequence[Cell]], shape: Shape) -> bytes:
    dimension = struct.pack("<IIII", 0, len(rows) - 1, 0, max(map(len, rows)) - 1)
    written = bytearray(_record(129) + _record(148, dimension))
    for column in shape.hidden_columns:
        written += _record(60, struct.pack("<IIIIH", column, column, 2304, 0, 1))
    written += _record(145)
    for number, row in enumerate(rows):
        flags = 0x10 if number in shape.hidden_rows else 0
        written += _record(0, struct.pack("<IIHBB", number, 0, 300, 0, flags) + bytes(5))
        for column, value in enumerate(row):
            style = value.style if isinstance(value, Styled) else 0
            written += _record(*_content(value, struct.pack("<II", column, style)))
    written += _record(146)
    if shape.merged:
        ranges = (_record(176, struct.pack("<IIII", *one)) for one in shape.merged)
        written += _record(177) + b"".join(ranges) + _record(178)
    return bytes(written + _record(130))


def _content(value: Cell, place: bytes) -> tuple[int, bytes]:
    """The kind of record and its data: whole numbers are packed into 30 bits, as Excel does."""
    if isinstance(value, str):
        return 6, place + _text(value)
    if isinstance(value, bool):
        return 4, place + bytes([value])
    number = value.value if isinstance(value, Styled) else value
    if number == int(number) and abs(number) < 1 << 28:
        return 2, place + struct.pack("<i", int(number) << 2 | 2)
    return 5, place + struct.pack("<d", number)


def _styles(formats: Sequence[str]) -> bytes:
    """The styles: the first one without a format, then one for each format."""
    own = b"".join(
        _record(44, struct.pack("<H", 164 + number) + _text(code))
        for number, code in enumerate(formats)
    )
    numbers = [0, *(164 + number for number in range(len(formats)))]
    cells = b"".join(_record(47, struct.pack("<HH", 0, number) + bytes(12)) for number in numbers)
    counts = (struct.pack("<I", len(found)) for found in (formats, numbers))
    before, between = (_record(kind, count) for kind, count in zip((615, 617), counts, strict=True))
    return _record(278) + before + own + _record(616) + between + cells + _record(618)


def make_xlsb(
    sheets: Mapping[str, Sequence[Sequence[Cell]]],
    *,
    hidden: Sequence[str] = (),
    formats: Sequence[str] = (),
    shape: Shape | None = None,
) -> bytes:
    """A workbook with these sheets; the styles of its cells count from 1, each has a format."""
    bundle = b"".join(
        _record(
            156,
            struct.pack("<II", _HIDDEN if name in hidden else _VISIBLE, number)
            + _text(f"rId{number}")
            + _text(name),
        )
        for number, name in enumerate(sheets, 1)
    )
    book = _record(131) + _record(143) + bundle + _record(144) + _record(132)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        package.writestr("[Content_Types].xml", _TYPES)
        package.writestr("_rels/.rels", _relations({"rId1": ("officeDocument", "xl/workbook.bin")}))
        package.writestr("xl/workbook.bin", book)
        parts = {
            f"rId{number}": ("worksheet", f"worksheets/sheet{number}.bin")
            for number in range(1, len(sheets) + 1)
        }
        package.writestr(
            "xl/_rels/workbook.bin.rels",
            _relations({**parts, "rIdStyles": ("styles", "styles.bin")}),
        )
        package.writestr("xl/styles.bin", _styles(formats))
        for (_kind, path), rows in zip(parts.values(), sheets.values(), strict=True):
            package.writestr(f"xl/{path}", _sheet(rows, shape or Shape()))
    return out.getvalue()


def _relations(relations: dict[str, tuple[str, str]]) -> str:
    written = "".join(
        f'<Relationship Id="{name}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for name, (kind, target) in relations.items()
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{written}</Relationships>'
