"""Reads the environment, with errors that name the variable and the remedy."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

from pydantic import ValidationError

from docmill.worker.errors import SettingsError
from docmill.worker.settings.parts import PREFIX, SettingsPart, variables_of
from docmill.worker.settings.processes import Settings

Loaded = TypeVar("Loaded", bound=SettingsPart)


def load_settings(kind: type[Loaded]) -> Loaded:
    """Read this kind of settings. Bad variables that it does not read do no harm.

    Raises SettingsError that names each bad variable and the expected value, and each unknown
    `DOCMILL_` variable.
    """
    known = _known_variables()
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError("; ".join(_explain_unknown(name, known) for name in unknown))
    try:
        return kind()
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(kind, item) for item in error.errors())) from None


def variables_read(kind: type[SettingsPart]) -> set[str]:
    """The environment variables that this kind of settings reads."""
    return {variable for name in kind.model_fields for variable in variables_of(kind, name)}


def _known_variables() -> set[str]:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    # The data folder of the embedded mode; the command line reads it, not processes.
    return known | {"DOCMILL_HOME"}


def _explain_unknown(name: str, known: set[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"unknown setting {name}: " + (f"use {close[0]}, or unset it" if close else "unset it")


def _explain(kind: type[SettingsPart], item: Mapping[str, object]) -> str:
    location = item["loc"]
    message = str(item["msg"]).removeprefix("Value error, ")
    if not isinstance(location, tuple) or not location:
        return message
    name = str(location[0])
    field = next(f for f in kind.model_fields if name in (f, *variables_of(kind, f)))
    variables = variables_of(kind, field)
    variable = next((v for v in variables if v in os.environ), variables[0])
    given = "" if is_secret(field) else f" is {item['input']!r}"
    return f"{variable}{given}: {message}"


def is_secret(field_name: str) -> bool:
    """Whether the value of a field must not be shown."""
    return "SecretStr" in str(Settings.model_fields[field_name].annotation)
