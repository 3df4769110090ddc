"""The results of the checks, and how bad each is."""

from dataclasses import dataclass
from typing import Literal

#: leak: somebody may read or write other users' data. warning: something could not be tried, or is
#: open although it shows nothing today.
Outcome = Literal["ok", "warning", "leak"]


@dataclass(frozen=True)
class Finding:
    """One result: the check, its subject, the outcome, and the remedy."""

    check: str
    subject: str
    outcome: Outcome
    seen: str = ""
    remedy: str | None = None


#: The remedy for every difference from docmill's own files.
APPLY = "run docmill schema apply"
