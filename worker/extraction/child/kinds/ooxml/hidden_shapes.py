"""Drops shapes that somebody has hidden in the selection pane of an Office program."""

from typing import Any

from docmill.worker.extraction.child.kinds.ooxml.alternatives import replace_with
from docmill.worker.extraction.child.kinds.ooxml.names import WP, XDR, P, is_on

#: The properties of a shape or picture, and how many levels above them it stands.
_LEVELS = {f"{P}cNvPr": 2, f"{XDR}cNvPr": 2, f"{WP}docPr": 1}


def drop_hidden_shapes(root: Any) -> None:
    """Remove hidden shapes, and groups with all their shapes."""
    for properties in list(root.iter(*_LEVELS)):
        hidden = properties.get("hidden")
        if hidden is None or not is_on(hidden):
            continue
        shape = properties
        for _ in range(_LEVELS[properties.tag]):
            shape = shape.getparent() if shape is not None else None
        if shape is not None:
            replace_with(shape, [])
