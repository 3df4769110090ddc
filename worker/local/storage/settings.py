"""What the stand-in is started with, passed to its process through the environment."""

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from worker.errors import SettingsError

MIB = 1024 * 1024
#: Not DOCMILL_: workers refuse variables of that prefix that they do not know.
VARIABLE_PREFIX = "STORAGE_"
#: Every route begins with it, as behind Supabase's gateway.
URL_PREFIX = "/storage/v1"


@dataclass(frozen=True)
class StorageSettings:
    """Frozen settings of one stand-in. Secrets stay out of its repr, hence out of logs."""

    #: Of role supabase_storage_admin, which may become any role of the API but bypasses no RLS.
    database_url: str = field(repr=False)
    data_dir: Path  #: bytes of the objects; made when absent
    jwt_secret: str = field(repr=False)  #: HS256; signs users' tokens and signed URLs
    publishable_key: str
    secret_key: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 54321
    deliver_webhooks: bool = True  #: off: what is queued stays in net.http_request_queue
    max_file_bytes: int = 50 * MIB  #: a bucket's own limit can only lower it
    connections: int = 16

    def environ(self) -> dict[str, str]:
        """The variables that `from_environ` reads back."""
        return {_variable(item.name): str(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read STORAGE_* variables. Raises SettingsError naming what is missing or bad."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            name = _variable(item.name)
            if name in environ:
                values[item.name] = _parse(name, environ[name], item.type)
            elif item.default is MISSING:
                raise SettingsError(f"set {name}")
        return cls(**values)


def _variable(name: str) -> str:
    return VARIABLE_PREFIX + name.upper()


def _parse(name: str, text: str, kind: Any) -> Any:
    if kind is bool:
        if text not in {"True", "False"}:
            raise SettingsError(f"{name}: True or False")
        return text == "True"
    try:
        return kind(text)
    except ValueError:
        raise SettingsError(f"{name}: not a valid {kind.__name__}") from None
