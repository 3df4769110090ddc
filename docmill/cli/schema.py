"""`docmill schema`."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from docmill.cli.admin import admin_connection
from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import console, print_json
from docmill.worker.admin.export import ExportedSchema, export_schema
from docmill.worker.admin.schema import AppliedSchema, apply_schema, check_schema
from docmill.worker.models import IndexSettings
from docmill.worker.processes.connections import first_index
from docmill.worker.settings.environment import load_settings
from docmill.worker.settings.parts import PREFIX
from docmill.worker.settings.processes import Settings
from docmill.worker.store.database import Connection
from docmill.worker.store.maintenance import active_index_version

_LAST_STEP: Final = (
    "\nWorkers log in as docmill_worker, which has no password yet. Set one:\n"
    "    alter role docmill_worker password '...';"
)


def apply(*, as_json: bool) -> int:
    """Bring the schema up to date."""
    settings = settings_in_use()
    with admin_connection(settings) as connection:
        applied = apply_schema(connection, _index_settings(settings))
        unlike = _unlike_settings(connection, settings)
    if as_json:
        print_json({"changed": applied.changed, **vars(applied), "unlike_settings": unlike})
    else:
        _print_applied(applied)
    if unlike:
        print(f"docmill: {_say_unlike(unlike)}", file=sys.stderr)
    return ExitCode.DONE


def _unlike_settings(connection: Connection, settings: Settings) -> list[dict[str, object]]:
    """Settings that differ from the active index version, which keeps its own values."""
    index = active_index_version(connection)
    if index is None:
        return []
    counted = {
        "embedding_model": (index.model, settings.model),
        "embedding_dimensions": (index.dimensions, settings.dimensions),
        "chunk_tokens": (index.chunking.get("max_tokens"), settings.chunk_tokens),
    }
    # Ignore a default, which nobody chose: `reindex` may have changed the index since.
    named = settings.model_fields_set | (
        {"embedding_model", "embedding_dimensions"}
        if "embedder" in settings.model_fields_set
        else set()
    )
    return [
        {"setting": PREFIX + name.upper(), "settings": wanted, "index": found}
        for name, (found, wanted) in counted.items()
        if name in named and found != wanted
    ]


def _say_unlike(unlike: list[dict[str, object]]) -> str:
    said = ", ".join(
        f"{one['setting']} is {one['settings']}, the index has {one['index']}" for one in unlike
    )
    return (
        f"{said}: these settings count for the first index version only. docmill reindex start "
        "makes another one, docmill reindex status shows what there is"
    )


def _index_settings(settings: Settings) -> IndexSettings:
    return first_index(settings, chunk_tokens=settings.chunk_tokens)


def _print_applied(applied: AppliedSchema) -> None:
    out = console()
    if not applied.changed:
        out.print("The schema is up to date; nothing was changed.")
        return
    for name in applied.migrations:
        out.print(f"ran {name}")
    if applied.reapplied:
        out.print("applied functions, policies and grants")
    if applied.index_version_created:
        out.print(f"created index version {applied.index_version_created}")
    if applied.role_created:
        out.print(_LAST_STEP)


def export(folder: Path, *, as_json: bool) -> int:
    """Write the schema as a migration file; settings are read for the first index version only."""
    exported = export_schema(folder, _index_settings(load_settings(Settings)), datetime.now(UTC))
    if as_json:
        print_json(
            {
                "changed": exported.changed,
                "file": str(exported.path) if exported.path else None,
                "migrations": exported.migrations,
                "reapplied": exported.reapplied,
                "index_version": vars(exported.index) if exported.index else None,
            }
        )
    else:
        _print_exported(exported, folder)
    return ExitCode.DONE


def _print_exported(exported: ExportedSchema, folder: Path) -> None:
    out = console()
    if exported.path is None:
        out.print(f"{folder} has everything already; nothing was written.")
        return
    out.print(f"wrote {exported.path}")
    for name in exported.migrations:
        out.print(f"  {name}")
    out.print("  functions, policies and grants")
    if exported.index is not None:
        index = exported.index
        out.print(f"  index version for {index.model}, {index.dimensions} dimensions")
    out.print("\nRun it with supabase db push or supabase migration up.")
    if exported.index is not None:
        out.print(_LAST_STEP)


def check(*, as_json: bool) -> int:
    """Say what is wrong with the schema."""
    settings = settings_in_use()
    with admin_connection(settings) as connection:
        problems = check_schema(connection)
    if as_json:
        print_json({"ok": not problems, "problems": problems})
    else:
        for line in problems or ["The schema is what this version expects."]:
            console().print(line)
    return ExitCode.FAILED if problems else ExitCode.DONE
