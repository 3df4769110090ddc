"""Names of elements and attributes in Office files."""

from typing import Final

_OOXML = "http://schemas.openxmlformats.org"
W: Final = f"{{{_OOXML}/wordprocessingml/2006/main}}"
M: Final = f"{{{_OOXML}/officeDocument/2006/math}}"
A: Final = f"{{{_OOXML}/drawingml/2006/main}}"
C: Final = f"{{{_OOXML}/drawingml/2006/chart}}"
CX: Final = "{http://schemas.microsoft.com/office/drawing/2014/chartex}"
DGM: Final = f"{{{_OOXML}/drawingml/2006/diagram}}"
R: Final = f"{{{_OOXML}/officeDocument/2006/relationships}}"
MC: Final = f"{{{_OOXML}/markup-compatibility/2006}}"
S: Final = f"{{{_OOXML}/spreadsheetml/2006/main}}"
XDR: Final = f"{{{_OOXML}/drawingml/2006/spreadsheetDrawing}}"
WP: Final = f"{{{_OOXML}/drawingml/2006/wordprocessingDrawing}}"
P: Final = f"{{{_OOXML}/presentationml/2006/main}}"
#: Every current Office knows the namespaces that begin like this.
KNOWN_NAMESPACES: Final = ("http://schemas.microsoft.com/office/", f"{_OOXML}/")

#: The values of a property that mean no.
_FALSE = frozenset({"0", "false", "off", "none"})


def is_on(value: str | None) -> bool:
    """Whether an existing property is on: yes, unless its value says no."""
    return value not in _FALSE
