"""In which form a client wants its answer."""

from dataclasses import dataclass
from typing import Final

from docmill.embedded.rest import errors

_JSON: Final = "application/json"
_OBJECT: Final = "application/vnd.pgrst.object+json"
_STRIPPED: Final = "nulls=stripped"


@dataclass(frozen=True)
class Media:
    """The form of an answer's body."""

    single: bool = False  #: one object instead of a list of them
    strip_nulls: bool = False

    @property
    def content_type(self) -> str:
        """As PostgREST writes it."""
        if self.single:
            kind = _OBJECT
        else:
            kind = "application/vnd.pgrst.array+json" if self.strip_nulls else _JSON
        return f"{kind}{';' + _STRIPPED if self.strip_nulls else ''}; charset=utf-8"


def negotiate(accept: str | None) -> Media:
    """The first form, most wanted first, that can be produced. Raises RestError PGRST107."""
    accepted = _by_quality(accept or "*/*")
    for kind, parameters in accepted:
        strip = _STRIPPED in parameters
        if kind in {"*/*", _JSON}:
            return Media()
        if kind in {_OBJECT, "application/vnd.pgrst.object"}:
            return Media(single=True, strip_nulls=strip)
        if kind in {"application/vnd.pgrst.array+json", "application/vnd.pgrst.array"}:
            return Media(strip_nulls=strip)
    raise errors.unknown_media_type(", ".join(kind for kind, _parameters in accepted))


def _by_quality(accept: str) -> list[tuple[str, list[str]]]:
    ranked = []
    for item in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in item.split(";"))
        qualities = [part[2:] for part in parameters if part.startswith("q=")]
        ranked.append((_quality(qualities[0] if qualities else "1"), kind, parameters))
    ranked.sort(key=lambda one: -one[0])  # stable: what stands first is wanted more
    return [(kind, parameters) for _quality, kind, parameters in ranked]


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
