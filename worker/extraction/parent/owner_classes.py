"""Whether one owner takes the children: CPU time by class of owner, without names."""

import threading
import time
from collections.abc import Callable
from typing import Final, Literal

#: `only`: no other owner had a child or waited for one. `largest`: others did, and this owner has
#: used most CPU time lately. `other`: all the rest.
OwnerClass = Literal["only", "largest", "other"]

#: What an owner used counts half after this time.
HALF_LIFE_SECONDS: Final = 300.0
#: Less than this is nothing: the owner is forgotten.
_LEAST_SECONDS: Final = 0.01


class OwnerClasses:
    """What each owner's children used lately. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._used: dict[str, float] = {}
        self._at = clock()

    def note(self, owner: str, seconds: float, *, met_others: bool) -> OwnerClass:
        """Count what a child used; the class of its owner now."""
        with self._lock:
            self._fade()
            used = self._used.get(owner, 0.0) + seconds
            self._used[owner] = used
            if not met_others:
                return "only"
            return "largest" if used >= max(self._used.values()) else "other"

    def _fade(self) -> None:
        now = self._clock()
        kept = 0.5 ** ((now - self._at) / HALF_LIFE_SECONDS)
        self._at = now
        faded = ((owner, used * kept) for owner, used in self._used.items())
        self._used = {owner: used for owner, used in faded if used >= _LEAST_SECONDS}
