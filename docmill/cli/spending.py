"""`docmill budget` and `docmill usage`: limits on spending, and what was spent."""

from datetime import UTC, date, datetime
from typing import Final

import psycopg

from docmill.cli.admin import admin_connection, apply_holds, owner_id, require_known_owner
from docmill.cli.context import settings_in_use
from docmill.cli.costs import active_price
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import console, count_of, print_json, print_rows
from docmill.worker.admin import spending
from docmill.worker.errors import RefusedError, UsageError

_BUDGET_COLUMNS: Final = ("scope", "owner_id", "period", "usd", "spent", "held_jobs", "renewed_at")
GROUPS: Final = ("owner", "day", "model", "purpose")


def list_budgets(*, as_json: bool) -> int:
    """List every budget and what is spent of it."""
    with admin_connection(settings_in_use()) as connection:
        rows = spending.list_budgets(connection)
    print_rows(rows, _BUDGET_COLUMNS, as_json=as_json)
    return ExitCode.DONE


def set_budget(
    usd: float,
    period: str,
    owner: str | None,
    *,
    each_owner: bool,
    is_sure: bool,
    as_json: bool,
) -> int:
    """Set a budget; hold jobs that are over it, and release jobs that are not any more."""
    settings = settings_in_use()
    with admin_connection(settings) as connection:
        scope, key = _scope(owner, each_owner=each_owner)
        if scope == "owner":
            require_known_owner(connection, key, "set it", is_sure=is_sure, can_ask=not as_json)
        try:
            spending.set_budget(connection, scope, key, period, usd)
        except (psycopg.errors.CheckViolation, psycopg.errors.NumericValueOutOfRange):
            raise UsageError(f"{usd} is not a budget: use 0 to 99999999 USD") from None
        changed = apply_holds(connection)
        is_free = active_price(connection, settings) == 0
    code = _say("set", scope, key, period, changed, as_json=as_json)
    if is_free and not as_json:
        console().print(
            "The active model has no price, so nothing is spent: "
            "set DOCMILL_EMBEDDING_PRICES where workers run"
        )
    return code


def remove_budget(period: str, owner: str | None, *, each_owner: bool, as_json: bool) -> int:
    """Remove a budget; its held jobs continue."""
    with admin_connection(settings_in_use()) as connection:
        scope, key = _scope(owner, each_owner=each_owner)
        if not spending.remove_budget(connection, scope, key, period):
            raise RefusedError("there is no such budget: docmill budget list shows them")
        changed = apply_holds(connection)
    return _say("removed", scope, key, period, changed, as_json=as_json)


def _scope(owner: str | None, *, each_owner: bool) -> tuple[str, str]:
    if owner is not None and each_owner:
        raise UsageError("give --owner or --each-owner, not both")
    if owner is not None:
        return "owner", owner_id(settings_in_use(), owner) or ""
    return ("each_owner" if each_owner else "everything"), ""


def _say(action: str, scope: str, key: str, period: str, jobs: int, *, as_json: bool) -> int:
    if as_json:
        print_json({"action": action, "scope": scope, "key": key, "period": period, "jobs": jobs})
    else:
        console().print(f"{action}: {count_of(jobs, 'job')} held or released")
    return ExitCode.DONE


def usage(since: datetime | None, by: str, owner: str | None, *, as_json: bool) -> int:
    """Print what was spent, in groups."""
    groups = [one.strip() for one in by.split(",")]
    unknown = [one for one in groups if one not in GROUPS]
    if unknown:
        raise UsageError(f"--by takes {', '.join(GROUPS)}, separated by commas")
    with admin_connection(settings_in_use()) as connection:
        rows = spending.list_usage(
            connection,
            since=since.date() if since else _first_of_month(),
            by=groups,
            owner=owner_id(settings_in_use(), owner),
        )
    names = [{"owner": "owner_id"}.get(one, one) for one in groups]
    print_rows(rows, (*names, "tokens", "usd"), as_json=as_json)
    return ExitCode.DONE


def _first_of_month() -> date:
    return datetime.now(UTC).date().replace(day=1)
