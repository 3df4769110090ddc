"""Content that is written twice, for newer and for older programs: one of the two is kept."""

from typing import Any

from docmill.worker.extraction.child.kinds.ooxml.names import KNOWN_NAMESPACES, MC


def keep_one_alternative(root: Any) -> None:
    """Put in place of each `mc:AlternateContent` what an Office of today takes from it."""
    for alternatives in list(root.iter(f"{MC}AlternateContent")):
        replace_with(alternatives, _chosen(alternatives))


def _chosen(alternatives: Any) -> list[Any]:
    for choice in alternatives.iterchildren(f"{MC}Choice"):
        namespaces = [choice.nsmap.get(prefix) for prefix in choice.get("Requires", "").split()]
        if all(space and space.startswith(KNOWN_NAMESPACES) for space in namespaces):
            return list(choice)
    return [child for other in alternatives.iterchildren(f"{MC}Fallback") for child in other]


def replace_with(node: Any, children: list[Any]) -> None:
    """Put the children in the node's place, in time that depends on nothing else."""
    parent = node.getparent()
    if parent is None:
        return
    for child in children:
        node.addprevious(child)
    parent.remove(node)
