"""`docmill pause` and `docmill resume`."""

from docmill.cli.admin import admin_connection, apply_holds, owner_id, require_known_owner
from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import cell, console, count_of, print_json
from docmill.worker.admin import holds
from docmill.worker.admin.sources import find_source
from docmill.worker.errors import RefusedError, UsageError
from docmill.worker.store.database import Connection


def pause(source: str | None, owner: str | None, *, is_sure: bool, as_json: bool) -> int:
    """Pause everything, a source or an owner."""
    with admin_connection(settings_in_use()) as connection:
        scope, key = _scope(connection, source, owner)
        if scope == "owner":
            require_known_owner(connection, key, "pause them", is_sure=is_sure, can_ask=not as_json)
        holds.pause(connection, scope, key)
        held = apply_holds(connection)
    return _say("paused", scope, key, held, as_json=as_json)


def resume(source: str | None, owner: str | None, *, as_json: bool) -> int:
    """End a pause of everything, a source or an owner."""
    with admin_connection(settings_in_use()) as connection:
        scope, key = _scope(connection, source, owner)
        if not holds.resume(connection, scope, key):
            raise RefusedError("there is no such pause: docmill status lists the pauses")
        released = apply_holds(connection)
    return _say("resumed", scope, key, released, as_json=as_json)


def _scope(connection: Connection, source: str | None, owner: str | None) -> tuple[str, str]:
    if source is not None and owner is not None:
        raise UsageError("name a source or an owner, not both")
    if owner is not None:
        if not owner:
            raise UsageError("--owner is empty")
        return "owner", owner_id(settings_in_use(), owner) or ""
    if source is None:
        return "everything", ""
    bucket, _, prefix = source.partition("/")
    found = find_source(connection, bucket, prefix)
    if found is None:
        raise RefusedError(f"{cell(source)} is not a source: see docmill sources list")
    return "source", str(found)


def _say(action: str, scope: str, key: str, jobs: int, *, as_json: bool) -> int:
    if as_json:
        print_json({"action": action, "scope": scope, "key": key, "jobs": jobs})
    else:
        effect = "held" if action == "paused" else "let go on"
        console().print(f"{action}: {count_of(jobs, 'job')} {effect}")
    return ExitCode.DONE
