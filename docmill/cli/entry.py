"""The start of `docmill`. Ctrl-C ends it at once, even during the imports."""

import os
import signal
import sys
from typing import Final

#: Standard streams by descriptor.
_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def main() -> None:
    """Run the command line."""
    _open_closed_streams()
    # Until the commands answer Ctrl-C themselves, it must not print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from docmill.cli.main import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _open_closed_streams() -> None:
    """Open closed streams (`docmill ... >&-`), so that no connection gets their descriptor."""
    for descriptor, (name, mode) in enumerate(_STREAMS):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, descriptor)
            if nowhere != descriptor:
                os.close(nowhere)
            setattr(sys, name, os.fdopen(descriptor, mode))


if __name__ == "__main__":
    main()
