"""`docmill config`: every setting, its value and where it comes from; and their reference."""

import inspect
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Le, MaxLen
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from docmill.cli.context import settings_if_any
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import console, print_rows
from docmill.worker.log import REDACTED, redact
from docmill.worker.settings import Settings, is_secret, load_settings, variables_of

_SECTION = re.compile(r"^    # -- (.+)$")
_FIELD = re.compile(r"^    (\w+): ")


@dataclass(frozen=True)
class Reference:
    """What is to be known of one setting."""

    section: str
    variables: tuple[str, ...]  #: its own name first, then standard ones
    default: str  #: empty: none
    allowed: str  #: bounds or choices; empty: anything of its type
    meaning: str


def references() -> list[Reference]:
    """All settings in the order of the code, which says the sections too."""
    return [
        Reference(
            section,
            variables_of(name),
            _default(Settings.model_fields[name]),
            _allowed(Settings.model_fields[name]),
            Settings.model_fields[name].description or "",
        )
        for section, name in _fields_by_section()
    ]


def _fields_by_section() -> Iterator[tuple[str, str]]:
    section = ""
    for line in inspect.getsource(Settings).splitlines():
        if match := _SECTION.match(line):
            section = match[1]
        elif (match := _FIELD.match(line)) and match[1] in Settings.model_fields:
            yield section, match[1]


def _default(field: FieldInfo) -> str:
    # A default that is computed differs from machine to machine; the meaning tells what it is.
    if field.default_factory is not None or field.default in (None, (), ""):
        return ""
    return _number(field.default) if isinstance(field.default, int | float) else str(field.default)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _allowed(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(get_args(field.annotation))
    least = next((_number(m.ge) for m in field.metadata if isinstance(m, Ge)), None)
    most = next((_number(m.le) for m in field.metadata if isinstance(m, Le)), None)
    longest = next((m.max_length for m in field.metadata if isinstance(m, MaxLen)), None)
    if longest is not None:
        return f"up to {longest} characters"
    if least is not None and most is not None:
        return f"{least} to {most}"
    return f"at least {least}" if least is not None else ""


def config(*, as_json: bool) -> int:
    """Print every setting as it is in use, secrets redacted."""
    settings = settings_if_any() or load_settings()
    rows = [
        {
            "variable": reference.variables[0],
            "value": _shown(settings, name),
            "from": _origin(reference.variables),
            "allowed": reference.allowed,
            "meaning": reference.meaning,
        }
        for reference, (_, name) in zip(references(), _fields_by_section(), strict=True)
    ]
    if as_json:
        print_rows(rows, (), as_json=True)
        return ExitCode.DONE
    for row in rows:
        console().print(f"{row['variable']:40} {row['value'] or '-':44} {row['from']}")
    return ExitCode.DONE


def _shown(settings: Settings, name: str) -> str:
    value: Any = getattr(settings, name)
    if value in (None, ()):
        return ""
    if isinstance(value, SecretStr) and name.endswith("_url"):
        return redact(value.get_secret_value())
    if is_secret(name):
        return REDACTED
    return _number(value) if isinstance(value, int | float) else str(value)


def _origin(variables: tuple[str, ...]) -> str:
    return next((name for name in variables if name in os.environ), "default")
