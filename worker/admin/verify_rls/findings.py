"""What was found, and how bad it is."""

from dataclasses import dataclass
from typing import Literal

#: leak: somebody may read or write what is not theirs. warning: something could not be tried, or
#: stands open without showing anything today.
Outcome = Literal["ok", "warning", "leak"]


@dataclass(frozen=True)
class Finding:
    """One thing that was tried: which check, on what, what came of it, what to do."""

    check: str
    subject: str
    outcome: Outcome
    seen: str = ""
    remedy: str | None = None


#: For whatever differs from what docmill's own files say.
APPLY = "run docmill schema apply"
