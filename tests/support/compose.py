"""docker-compose.yml as Compose reads it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
_VARIABLE: Final = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")
_UNITS: Final = {"k": 1024, "m": 1024**2, "g": 1024**3}


def interpolate(node: Any, variables: Mapping[str, str]) -> Any:
    """Replace ${NAME}, ${NAME:-default} and ${NAME:?message} in values; $$ is a dollar sign."""
    if isinstance(node, dict):
        return {key: interpolate(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [interpolate(value, variables) for value in node]
    return _interpolate_text(node, variables) if isinstance(node, str) else node


def _interpolate_text(text: str, variables: Mapping[str, str]) -> str:

    def value(match: re.Match[str]) -> str:
        dollar, name, kind, rest = match.groups()
        if dollar:
            return "$"
        if found := variables.get(name):
            return found
        assert kind != "?", rest
        return rest or ""

    return _VARIABLE.sub(value, text)


def services(variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """All services, with the variables of a `.env` file."""
    content = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    found: dict[str, dict[str, Any]] = interpolate(content["services"], variables)
    return found


def environment(service: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, str]:
    """The environment variables in a container of the service."""
    from_file = dict(variables) if service.get("env_file") == ".env" else {}
    own = {name: str(value) for name, value in service.get("environment", {}).items()}
    return from_file | own


def size(text: str) -> int:
    """Bytes of a size such as 64m."""
    return int(text[:-1]) * _UNITS[text[-1]]


def seconds(text: str) -> int:
    """Seconds of a duration such as 45s or 2m."""
    return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


def tmpfs(service: Mapping[str, Any]) -> dict[str, str]:
    """Options by path."""
    return dict(entry.split(":", 1) for entry in service.get("tmpfs", []))


def tmpfs_size(options: str) -> int:
    """The `size` option of a tmpfs."""
    return size(dict(part.split("=") for part in options.split(","))["size"])
