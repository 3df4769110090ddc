"""`docmill schema`."""

from worker.cli.context import admin_connection, settings_in_use
from worker.cli.main import ExitCode
from worker.cli.output import console, print_json
from worker.store.schema import AppliedSchema, IndexSettings, apply_schema, check_schema


def apply(*, as_json: bool) -> int:
    """Bring the schema up to date."""
    settings = settings_in_use()
    index = IndexSettings(
        settings.model, settings.dimensions, {"max_tokens": settings.chunk_tokens}
    )
    with admin_connection(settings) as connection:
        applied = apply_schema(connection, index)
    if as_json:
        print_json({"changed": applied.changed, **vars(applied)})
    else:
        _print_applied(applied)
    return ExitCode.DONE


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
        out.print(
            "\nWorkers log in as docmill_worker, which has no password yet. Set one:\n"
            "    alter role docmill_worker password '...';"
        )


def check(*, as_json: bool) -> int:
    """Say what is wrong with the schema."""
    with admin_connection(settings_in_use()) as connection:
        problems = check_schema(connection)
    if as_json:
        print_json({"ok": not problems, "problems": problems})
    else:
        for line in problems or ["The schema is what this version expects."]:
            console().print(line)
    return ExitCode.FAILED if problems else ExitCode.DONE
