"""The schema as migration files of the Supabase CLI: `schema apply` without docmill.

Each file makes all its changes in the single transaction that the CLI gives it, so a database is
never between two releases. The file decides in the database what to do: it leaves a database alone
that `schema apply` has already changed. What a folder already has is read from its files: each
names its contents in its head, with a checksum of the rest.
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
#: File names that the CLI takes for migrations; it sorts by them.
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
    """The file that `export_schema` wrote, and its contents. No file if nothing was new."""

    path: Path | None
    migrations: tuple[str, ...] = ()
    reapplied: bool = False
    index: IndexSettings | None = None

    @property
    def changed(self) -> bool:
        """False if the folder was up to date."""
        return self.path is not None


@dataclass(frozen=True)
class FolderState:
    """The contents of all files of a folder together."""

    migrations: dict[str, str] = field(default_factory=dict)  #: name to checksum
    files: str | None = None  #: checksum of the re-applied files in the newest file
    has_index: bool = False


def export_schema(folder: Path, index: IndexSettings, now: datetime) -> ExportedSchema:
    """Write what the migrations folder lacks, as one new file. Touches no other file.

    Repeatable: the second call writes nothing. Raises SchemaError if one of docmill's files was
    edited or is newer than this docmill, UsageError if the folder cannot be made.
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
    """Read docmill's files in the folder. Raises SchemaError if one was edited."""
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
    """The files that the CLI would run, in its order."""
    if not folder.is_dir():
        return []
    named = [path for path in folder.iterdir() if _MIGRATION_NAME.fullmatch(path.name)]
    found = [path for path in named if path.is_file()]
    return sorted(found, key=lambda path: (path.name.split("_")[0], path.name))


def _read_summary(path: Path) -> dict[str, Any] | None:
    # Line ends depend on git, and other files may hold any bytes.
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
    """A timestamp after those of all files: now, unless a file's timestamp is in the future."""
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
    # Without parentheses: the CLI's splitter failed at quotes within them.
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
    # Write completely or not at all: the CLI ignores the temporary name.
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.rename(path)
