"""The users' text of each error code, for commands without a database.

The texts are in schema/functions/092_error_codes.sql, and nowhere else.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final

_ENTRY: Final = re.compile(
    r"\('(\w+)', '(\w+)',\s+'((?:[^']|'')*)',\s+'((?:[^']|'')*)'\)", re.DOTALL
)


@dataclass(frozen=True)
class ErrorText:
    """One entry of the fixed list."""

    code: str
    kind: str
    message: str
    remedy: str


@lru_cache(maxsize=1)
def error_texts() -> dict[str, ErrorText]:
    """All entries by code, in the order of the file."""
    sql = files("docmill.schema").joinpath("functions/092_error_codes.sql").read_text()
    entries = (
        ErrorText(*(field.replace("''", "'") for field in entry)) for entry in _ENTRY.findall(sql)
    )
    return {entry.code: entry for entry in entries}
