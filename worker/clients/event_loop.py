"""Event loops on threads of their own: what waits in one can be ended at any time.

A thread that waits for a socket cannot be ended, and a time-out for reads starts again with each
byte that arrives.
"""

import asyncio
import os
import threading
from functools import lru_cache

_lock = threading.Lock()


def event_loop(name: str) -> asyncio.AbstractEventLoop:
    """This process's event loop of this name. A fork makes a new one."""
    with _lock:
        return _made(name, os.getpid())


@lru_cache(maxsize=8)
def _made(name: str, _pid: int) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    # Daemon: the process can end without waiting for it.
    threading.Thread(target=loop.run_forever, name=name, daemon=True).start()
    return loop
