"""Content that is written twice, for newer and older programs: keeps one of the two."""

from typing import Any

from docmill.worker.extraction.child.kinds.ooxml.names import KNOWN_NAMESPACES, MC


def keep_one_alternative(root: Any) -> None:
    """Replace each `mc:AlternateContent` by the content that a current Office uses."""
    for alternatives in list(root.iter(f"{MC}AlternateContent")):
        replace_with(alternatives, _chosen(alternatives))


def _chosen(alternatives: Any) -> list[Any]:
    for choice in alternatives.iterchildren(f"{MC}Choice"):
        namespaces = [choice.nsmap.get(prefix) for prefix in choice.get("Requires", "").split()]
        if all(space and space.startswith(KNOWN_NAMESPACES) for space in namespaces):
            return list(choice)
    return [child for other in alternatives.iterchildren(f"{MC}Fallback") for child in other]


def replace_with(node: Any, children: list[Any]) -> None:
    """Replace the node by the children, in time that depends on nothing else."""
    parent = node.getparent()
    if parent is None:
        return
    for child in children:
        node.addprevious(child)
    parent.remove(node)
