"""What embeddings have cost, and limits on what they may cost."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from docmill.cli.app import STEP_IN, WATCH, app, group, help_without_command
from docmill.cli.options import Json, Owner, Yes

budget_app = group("budget", STEP_IN)


class Period(StrEnum):
    """The period of a budget, in UTC."""

    DAY = "day"
    MONTH = "month"


Per = Annotated[Period, typer.Option("--per", help="A day or a month, in UTC.")]
EachOwner = Annotated[
    bool, typer.Option("--each-owner", help="For each owner without a budget of their own.")
]


@budget_app.callback(invoke_without_command=True)
def budget_options(context: typer.Context) -> None:
    """Limit spending on embeddings; above a limit jobs wait."""
    help_without_command(context)


@budget_app.command("list")
def budget_list(json: Json = False) -> int:
    """List the budgets, and what is spent of each."""
    from docmill.cli import spending

    return spending.list_budgets(as_json=json)


@budget_app.command("set")
def budget_set(
    usd: Annotated[float, typer.Argument(metavar="USD", min=0)],
    per: Per,
    owner: Owner = None,
    each_owner: EachOwner = False,
    yes: Yes = False,
    json: Json = False,
) -> int:
    """Set what may be spent in a day or a month."""
    from docmill.cli import spending

    return spending.set_budget(
        usd, per.value, owner, each_owner=each_owner, is_sure=yes, as_json=json
    )


@budget_app.command("remove")
def budget_remove(
    per: Per, owner: Owner = None, each_owner: EachOwner = False, json: Json = False
) -> int:
    """Remove a budget."""
    from docmill.cli import spending

    return spending.remove_budget(per.value, owner, each_owner=each_owner, as_json=json)


@app.command(rich_help_panel=WATCH)
def usage(
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="First day (UTC); the first of this month by default."
        ),
    ] = None,
    by: Annotated[
        str, typer.Option(help="Group by owner, day, model, purpose (comma-separated).")
    ] = "day,model,purpose",
    owner: Owner = None,
    json: Json = False,
) -> int:
    """Show what embeddings have cost."""
    from docmill.cli import spending

    return spending.usage(since, by, owner, as_json=json)
