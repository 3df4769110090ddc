"""The schema as migration files of the Supabase CLI: what `schema apply` does, without us.

Each file does everything at once, in the one transaction that the CLI runs it in, so a database is
never between two releases. What is to be done is decided where the file runs: a database that
`schema apply` has seen before is left as it is. What a folder has already is read from its files:
each says in its head what it brings, under a checksum of the rest.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from docmill.worker.admin import schema
from docmill.worker.admin.schema import SqlFile
from docmill.worker.errors import SchemaError, UsageError
from docmill.worker.models import IndexSettings

_FILE_NAME: Final = "{version}_docmill_schema.sql"
_VERSION_FORMAT: Final = "%Y%m%d%H%M%S"
#: What the CLI takes for a migration, and sorts by.
_MIGRATION_NAME: Final = re.compile(r"([0-9]+)_.*\.sql")
_HEAD: Final = """\
-- docmill's schema: does what `docmill schema apply` does, and nothing where that was done.
-- Written by `docmill schema export`, which knows the file by the next line: do not edit it.
-- docmill: {summary}
"""
_SUMMARY: Final = re.compile(r"^-- docmill: (\{.*\})$", re.MULTILINE)
_START: Final = """\
select pg_advisory_xact_lock({lock_key});
select set_config('search_path', '', true),
       set_config('lock_timeout', '3s', true),
       set_config('statement_timeout', '10min', true);

-- Gone with the transaction.
drop table if exists pg_temp.docmill_export;
create temporary table docmill_export (
    position integer generated always as identity, kind text, name text, content text
) on commit drop;
-- Whoever runs this may have to become the schema's owner on the way.
grant select, delete on pg_temp.docmill_export to public;
"""


@dataclass(frozen=True)
class ExportedSchema:
    """What `export_schema` wrote: the file, and what is in it. No file when nothing was new."""

    path: Path | None
    migrations: tuple[str, ...] = ()
    reapplied: bool = False
    index: IndexSettings | None = None

    @property
    def changed(self) -> bool:
        """False when the folder was up to date."""
        return self.path is not None


@dataclass(frozen=True)
class FolderState:
    """What the files of a folder bring, all together."""

    migrations: dict[str, str] = field(default_factory=dict)  #: name to checksum
    files: str | None = None  #: sum of the re-applied files, as the newest one leaves them
    has_index: bool = False


def export_schema(folder: Path, index: IndexSettings, now: datetime) -> ExportedSchema:
    """Write what the migrations folder does not have yet, as one new file. Touches no other.

    Repeatable: the second time nothing is written. Raises SchemaError when a file of ours was
    edited or is newer than this docmill, UsageError when there is no place for the folder.
    """
    state = folder_state(folder)
    pending = [file for file in schema.sql_files("migrations") if file.name not in state.migrations]
    if not pending and state.files == schema.reapplied_checksum():
        return ExportedSchema(None)
    first_index = None if state.has_index else index
    version = next_version(now, [path.name for path in _migration_files(folder)])
    path = folder / _FILE_NAME.format(version=version)
    _write_new(path, render(pending, first_index))
    return ExportedSchema(path, tuple(file.name for file in pending), True, first_index)


def folder_state(folder: Path) -> FolderState:
    """What docmill's files in the folder bring. Raises SchemaError when that is not to be known."""
    state = FolderState()
    for path in _migration_files(folder):
        summary = _read_summary(path)
        if summary is not None:
            state = FolderState(
                state.migrations | summary["migrations"],
                summary["files"],
                state.has_index or summary["index"],
            )
    schema.check_done(state.migrations, where=f"the folder {folder}")
    return state


def _migration_files(folder: Path) -> list[Path]:
    """What the CLI would run, in its order."""
    if not folder.is_dir():
        return []
    named = [path for path in folder.iterdir() if _MIGRATION_NAME.fullmatch(path.name)]
    found = [path for path in named if path.is_file()]
    return sorted(found, key=lambda path: (path.name.split("_")[0], path.name))


def _read_summary(path: Path) -> dict[str, Any] | None:
    # Line ends are git's business, and other people's files may hold anything.
    text = path.read_bytes().decode(errors="replace").replace("\r\n", "\n")
    found = _SUMMARY.search(text)
    if found is None:
        return None
    summary: dict[str, Any] = json.loads(found[1])
    if summary["sha256"] != _sum(text[found.end() :]):
        raise SchemaError(f"{path} was edited after docmill wrote it: restore the file")
    return summary


def _sum(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()


def next_version(now: datetime, names: Sequence[str]) -> str:
    """A timestamp after those of all files, which is now unless one of them is in the future."""
    version = now.astimezone(UTC).strftime(_VERSION_FORMAT)
    newest = max((name.split("_")[0] for name in names), default="")
    if version > newest:
        return version
    try:
        latest = datetime.strptime(newest, _VERSION_FORMAT).replace(tzinfo=UTC)
        version = (latest + timedelta(seconds=1)).strftime(_VERSION_FORMAT)
    except (ValueError, OverflowError):
        version = ""
    if version > newest:
        return version
    raise UsageError(
        f"migration {newest} comes after every timestamp: let the name of its file start with the "
        "time when it was made, YYYYMMDDHHMMSS"
    )


def render(pending: Sequence[SqlFile], index: IndexSettings | None) -> str:
    """The file that runs these migrations, then functions, policies and grants."""
    start = _START.format(lock_key=schema.LOCK_KEY)
    body = "\n".join([start, *_rows(pending, index), _algorithm()])
    summary = {
        "sha256": _sum(body),
        "migrations": {file.name: file.checksum for file in pending},
        "files": schema.reapplied_checksum(),
        "index": index is not None,
    }
    return _HEAD.format(summary=json.dumps(summary)) + "\n" + body


def _algorithm() -> str:
    return files("docmill.schema").joinpath("export.sql").read_text(encoding="utf-8")


def _rows(pending: Sequence[SqlFile], index: IndexSettings | None) -> Iterator[str]:
    for file in schema.sql_files("migrations"):
        yield _row("known", file.name, file.checksum)
    values = {
        "files": schema.reapplied_checksum(),
        "fingerprint": schema.fingerprint(),
    }
    if index is not None:
        values |= {
            "model": index.model,
            "dimensions": str(index.dimensions),
            "chunking": json.dumps(index.chunking),
        }
        if index.provider is not None:
            values["provider"] = index.provider
        if index.sends_dimensions is not None:
            values["sends_dimensions"] = json.dumps(index.sends_dimensions)
    for name, value in values.items():
        yield _row("value", name, value)
    for file in pending:
        yield _row("migration", file.name, file.text)
    for file in schema.reapplied_files():
        yield _row("reapplied", file.name, file.text)


def _row(kind: str, name: str, content: str) -> str:
    # Without parentheses: the CLI's splitter has lost its way in quotes within them before.
    return (
        "insert into pg_temp.docmill_export (kind, name, content)\n"
        f"select '{kind}', '{name}', {_quoted(content)};\n"
    )


def _quoted(text: str) -> str:
    if "\n" not in text and "'" not in text:
        return f"'{text}'"
    tag = "$docmill$"
    while tag in text:
        tag = f"{tag[:-1]}_$"
    return f"{tag}{text}{tag}"


def _write_new(path: Path, text: str) -> None:
    if not path.parent.parent.is_dir():
        raise UsageError(
            f"there is no folder {path.parent.parent}: run this in the project's folder, "
            "or make it with supabase init"
        )
    path.parent.mkdir(exist_ok=True)
    # Whole or not at all: the CLI takes no notice of the other name.
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.rename(path)
