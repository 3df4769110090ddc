"""Schema, sources, and a check that everything is right."""

from pathlib import Path
from typing import Annotated

import typer

from docmill.cli.app import SET_UP, app, group, help_without_command
from docmill.cli.options import Bucket, Json, Lane, text

schema_app = group("schema", SET_UP)
sources_app = group("sources", SET_UP)


@app.command(rich_help_panel=SET_UP)
def doctor(json: Json = False) -> int:
    """Check every part, and say how to repair it."""
    from docmill.cli import doctor as doctor_command

    return doctor_command.doctor(as_json=json)


@app.command(rich_help_panel=SET_UP)
def config(json: Json = False) -> int:
    """Show every setting and where it comes from. Secrets are hidden."""
    from docmill.cli import config as config_command

    return config_command.config(as_json=json)


@app.command("verify-rls", rich_help_panel=SET_UP)
def verify_rls(json: Json = False) -> int:
    """Try to read and change other users' data. Keeps nothing."""
    from docmill.cli import verify_rls as verify_command

    return verify_command.verify_rls(as_json=json)


@schema_app.callback(invoke_without_command=True)
def schema_options(context: typer.Context) -> None:
    """Create, upgrade and compare docmill's part of your database."""
    help_without_command(context)


@schema_app.command("apply")
def schema_apply(json: Json = False) -> int:
    """Create or upgrade the schema.

    Repeatable; needs DOCMILL_ADMIN_DATABASE_URL.
    """
    from docmill.cli import schema

    return schema.apply(as_json=json)


@schema_app.command("export")
def schema_export(
    to: Annotated[
        Path, typer.Option("--to", metavar="FOLDER", help="The migrations of a Supabase project.")
    ] = Path("supabase/migrations"),
    json: Json = False,
) -> int:
    """Write the schema as a migration of the Supabase CLI.

    Needs no database.
    """
    from docmill.cli import schema

    return schema.export(to, as_json=json)


@schema_app.command("check")
def schema_check(json: Json = False) -> int:
    """Say whether the schema is what this version expects."""
    from docmill.cli import schema

    return schema.check(as_json=json)


@schema_app.command("webhook")
def schema_webhook(
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The address of docmill webhook.", callback=text),
    ] = None,
    rotate: Annotated[bool, typer.Option("--rotate", help="Sign with a new secret.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Send no more.")] = False,
    json: Json = False,
) -> int:
    """Let the database send signed events, or show what is set up."""
    from docmill.cli import doorbell

    return doorbell.doorbell(url, rotate=rotate, remove=remove, as_json=json)


@sources_app.callback(invoke_without_command=True)
def sources_options(context: typer.Context) -> None:
    """Choose the buckets that are ingested."""
    help_without_command(context)


@sources_app.command("add")
def sources_add(
    bucket: Bucket,
    prefix: Annotated[
        str, typer.Option(help="Only objects whose name starts with this.", callback=text)
    ] = "",
    owner_from: Annotated[
        str,
        typer.Option(help="Who owns a document: uploader, folder:N or fixed:SUB.", callback=text),
    ] = "uploader",
    access: Annotated[
        str,
        typer.Option(
            help="owner: its owner; inherit: all who may read the object in Storage.",
            callback=text,
        ),
    ] = "owner",
    priority: Annotated[int, typer.Option(help="0 (first) to 9.")] = 5,
    weight: Annotated[
        float, typer.Option(help="Its share of the workers among sources of this priority.")
    ] = 1.0,
    max_bytes: Annotated[int | None, typer.Option(help="Larger files are refused.")] = None,
    lane: Annotated[
        Lane, typer.Option(help="bulk: what is there already, for less, within a day.")
    ] = Lane.DIRECT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what is there.")] = False,
    json: Json = False,
) -> int:
    """Ingest a bucket: the files that are there, and all later ones.

    Call it again to change the rules.
    """
    from docmill.cli import sources

    source = sources.Source(bucket, prefix, owner_from, access, priority, weight, max_bytes)
    return sources.add(source, is_bulk=lane is Lane.BULK, dry_run=dry_run, as_json=json)


@sources_app.command("remove")
def sources_remove(
    bucket: Bucket,
    prefix: Annotated[str, typer.Option(help="The prefix it was added with.", callback=text)] = "",
    forget: Annotated[
        bool, typer.Option("--forget", help="Remove its documents from search as well.")
    ] = False,
    json: Json = False,
) -> int:
    """Stop ingesting a bucket.

    Its documents stay searchable until their files change, or leave search with --forget.
    """
    from docmill.cli import sources

    return sources.remove(bucket, prefix=prefix, forget=forget, as_json=json)


@sources_app.command("list")
def sources_list(json: Json = False) -> int:
    """List the buckets that are ingested."""
    from docmill.cli import sources

    return sources.list_all(as_json=json)
