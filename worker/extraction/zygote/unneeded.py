"""Parts of parsers that take long to import, or make forks slow, and that no document needs."""

import sys
from types import ModuleType

#: Names of modules, with the names that parsers import from them and never use.
#: spaCy imports its own command line, which takes a fifth of the time until the zygote is ready
#: (0.7 of 3.7 CPU seconds, 220 modules and 10 MB). filelock guards the download of a model. After
#: each fork it looks at all its objects, which takes a millisecond and copies 258 pages.
_UNNEEDED = {"spacy.cli": (), "spacy.cli.info": ("info",), "filelock": ("FileLock",)}


def leave_out() -> None:
    """Put empty modules in their place. Call this before anything that imports the parsers."""
    for module_name, names in _UNNEEDED.items():
        module = ModuleType(module_name)
        vars(module).update(dict.fromkeys(names))
        sys.modules.setdefault(module_name, module)
