"""Parts of parsers that take long to import and that no document needs."""

import sys
from types import ModuleType

#: spaCy imports its own command line, which takes a fifth of the time until the zygote is ready
#: (0.7 of 3.7 CPU seconds, 220 modules and 10 MB). spaCy needs only one name of it, and never calls
#: it.
_COMMAND_LINE = "spacy.cli"


def leave_out() -> None:
    """Put empty modules in their place. Call this before the parsers are imported."""
    information = ModuleType(f"{_COMMAND_LINE}.info")
    vars(information)["info"] = None
    sys.modules.setdefault(_COMMAND_LINE, ModuleType(_COMMAND_LINE))
    sys.modules.setdefault(information.__name__, information)
