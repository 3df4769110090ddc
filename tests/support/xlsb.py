"""Writes the smallest XLSB that a reader accepts: [MS-XLSB], one record after the other."""

import io
import struct
import zipfile
from collections.abc import Sequence

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


def _sheet(rows: Sequence[Sequence[str | float]]) -> bytes:
    dimension = struct.pack("<IIII", 0, len(rows) - 1, 0, max(map(len, rows)) - 1)
    written = _record(129) + _record(148, dimension) + _record(145)
    for number, row in enumerate(rows):
        written += _record(0, struct.pack("<II", number, 0) + bytes(9))
        for column, value in enumerate(row):
            place = struct.pack("<II", column, 0)
            is_text = isinstance(value, str)
            content = _text(value) if isinstance(value, str) else struct.pack("<d", value)
            written += _record(6 if is_text else 5, place + content)
    return written + _record(146) + _record(130)


def make_xlsb(
    sheets: dict[str, Sequence[Sequence[str | float]]], *, hidden: Sequence[str] = ()
) -> bytes:
    """A workbook with these sheets."""
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
        package.writestr("xl/_rels/workbook.bin.rels", _relations(parts))
        for (_kind, path), rows in zip(parts.values(), sheets.values(), strict=True):
            package.writestr(f"xl/{path}", _sheet(rows))
    return out.getvalue()


def _relations(relations: dict[str, tuple[str, str]]) -> str:
    written = "".join(
        f'<Relationship Id="{name}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for name, (kind, target) in relations.items()
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{written}</Relationships>'
