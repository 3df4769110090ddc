"""What the parts of the API have in common, as the process that serves them sees it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from starlette.types import ASGIApp


@dataclass(frozen=True)
class Part:
    """One of Supabase's services: what answers its requests, and what runs meanwhile."""

    app: ASGIApp  #: routes what follows the part's prefix; sees paths undecoded
    running: Callable[[], AbstractAsyncContextManager[None]]
