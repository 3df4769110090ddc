"""The Prefer header: which wishes were expressed, and which of them an answer grants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

#: What PostgREST knows. What concerns writing is accepted and changes nothing here.
_KNOWN: Final[Mapping[str, Sequence[str]]] = {
    "resolution": ("merge-duplicates", "ignore-duplicates"),
    "return": ("representation", "minimal", "headers-only"),
    "count": ("exact", "planned", "estimated"),
    "tx": ("commit", "rollback"),
    "missing": ("default", "null"),
    "handling": ("strict", "lenient"),
}


@dataclass(frozen=True)
class Preferences:
    """Wishes of one request; of several values for one of them the first counts."""

    count: str | None = None  #: exact, planned or estimated
    handling: str | None = None  #: strict or lenient
    timezone: str | None = None
    max_affected: int | None = None
    unknown: tuple[str, ...] = ()

    @property
    def strict(self) -> bool:
        """Whether a wish that cannot be granted is an error."""
        return self.handling == "strict"

    def applied(self, *, to_function: bool) -> str:
        """The Preference-Applied header; empty when there is nothing to say."""
        limited = self.max_affected is not None and self.strict and to_function
        granted = (
            ("count", self.count),
            ("handling", self.handling),
            ("timezone", self.timezone),
            ("max-affected", self.max_affected if limited else None),
        )
        return ", ".join(f"{name}={value}" for name, value in granted if value is not None)


def read_preferences(headers: Sequence[str]) -> Preferences:
    """Read all Prefer headers of a request."""
    wishes = [wish.strip() for header in headers for wish in header.split(",")]
    found: dict[str, str] = {}
    unknown = []
    for wish in wishes:
        name, _equals, value = wish.partition("=")
        if name in {"timezone", "max-affected"} or value in _KNOWN.get(name, ()):
            found.setdefault(name, value)
        else:
            unknown.append(wish)
    limit = found.get("max-affected", "")
    return Preferences(
        found.get("count"),
        found.get("handling"),
        found.get("timezone"),
        int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 19 else None,
        tuple(unknown),
    )
