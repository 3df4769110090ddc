"""`docmill config`: every setting, its value and its source; and the reference of settings."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Le, MaxLen
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from docmill.cli.context import complete_settings, running_stack
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import console, print_rows
from docmill.worker.log import REDACTED, redact
from docmill.worker.settings.environment import is_secret
from docmill.worker.settings.parts import SettingsPart, variables_of
from docmill.worker.settings.processes import PARTS, PROCESSES, Settings


@dataclass(frozen=True)
class Reference:
    """The facts about one setting."""

    section: str
    variables: tuple[str, ...]  #: its own name first, then standard ones
    default: str  #: empty: none
    allowed: str  #: bounds or choices; empty: anything of its type
    meaning: str
    read_by: tuple[str, ...]  #: processes; none: commands only


def references() -> list[Reference]:
    """All settings, part by part, in the order of the code."""
    return [
        Reference(
            part.section,
            variables_of(part, name),
            _default(field),
            _allowed(field),
            field.description or "",
            tuple(process for process, kind in PROCESSES.items() if name in kind.model_fields),
        )
        for part, name, field in _fields()
    ]


def _fields() -> Iterator[tuple[type[SettingsPart], str, FieldInfo]]:
    seen: set[str] = set()  # a part may inherit from an earlier one
    for part in PARTS:
        for name, field in part.model_fields.items():
            if name not in seen:
                seen.add(name)
                yield part, name, field


def _default(field: FieldInfo) -> str:
    # A computed default differs between machines; the text of the setting explains it.
    if field.default_factory is not None or field.default in (None, (), ""):
        return ""
    return _plain(field.default)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> str:
    """A value as it is written in the environment."""
    return ",".join(value) if isinstance(value, tuple) else _number(value)


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
    """Print every setting with the value in use; secrets are hidden."""
    settings = _settings_shown()
    rows = [
        {
            "variable": reference.variables[0],
            "value": _shown(settings, name),
            "from": _origin(reference.variables),
            "allowed": reference.allowed,
            "meaning": reference.meaning,
        }
        for reference, (_, name, _) in zip(references(), _fields(), strict=True)
    ]
    if as_json:
        print_rows(rows, (), as_json=True)
        return ExitCode.DONE
    for row in rows:
        console().print(f"{row['variable']:40} {row['value'] or '-':44} {row['from']}")
    return ExitCode.DONE


def _settings_shown() -> Settings:
    stack = running_stack()
    if stack is not None:
        # No command talks to Flower, so the stack gives none its address.
        for name, value in stack.flower_environ().items():
            os.environ.setdefault(name, value)
    return complete_settings(Settings)


def _shown(settings: Settings, name: str) -> str:
    value: Any = getattr(settings, name)
    if value in (None, ()):
        return ""
    if isinstance(value, SecretStr) and name.endswith("_url"):
        return redact(value.get_secret_value())
    if is_secret(name):
        return REDACTED
    return _plain(value)


def _origin(variables: tuple[str, ...]) -> str:
    return next((name for name in variables if name in os.environ), "default")
