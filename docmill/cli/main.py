"""The commands of `docmill` and what their exit codes mean."""

import os
import sys
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from docmill.cli.exit_code import ExitCode
from docmill.worker.errors import DocmillError, RefusedError, StoppedError, UsageError

app = typer.Typer(
    name="docmill",
    # Plain help: drawing boxes would cost as much time as everything else together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
sources_app = typer.Typer()
schema_app = typer.Typer()
index_app = typer.Typer()
reindex_app = typer.Typer()
budget_app = typer.Typer()
app.add_typer(sources_app, name="sources")
app.add_typer(schema_app, name="schema")
app.add_typer(index_app, name="index")
app.add_typer(reindex_app, name="reindex")
app.add_typer(budget_app, name="budget")


#: The largest integer of a column.
_MOST = 2**31 - 1
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def _not_empty(value: str | None) -> str | None:
    if value == "":
        raise typer.BadParameter("it is empty")
    return _text(value)


def _text(value: str | None) -> str | None:
    # What is no UTF-8 on the command line arrives as lone surrogates, which nothing else takes.
    if value is not None and any("\ud800" <= character <= "\udfff" for character in value):
        raise typer.BadParameter("it is not valid UTF-8")
    return value


Owner = Annotated[
    str | None,
    typer.Option(
        "--owner", metavar="SUB", help="The user's id or e-mail address.", callback=_not_empty
    ),
]
Bucket = Annotated[str, typer.Argument(callback=_not_empty)]
JobId = Annotated[str, typer.Argument(metavar="ID")]


def main() -> None:
    """Run the command line; every error is one sentence on stderr."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except StoppedError as error:
        _end_at_once(str(error), 128 + error.signal_number)
    except (KeyboardInterrupt, typer.Abort):
        _end_at_once("interrupted", ExitCode.INTERRUPTED)
    except BrokenPipeError:
        _end("", ExitCode.DONE)
    except SystemExit as error:
        # What typer and rich make of a broken pipe. Whoever read our output has seen enough.
        if isinstance(error.__context__, BrokenPipeError):
            _end("", ExitCode.DONE)
        raise
    except Exception as error:
        _end(*_explain(error))
    if code == ExitCode.INTERRUPTED:  # what typer makes of Ctrl-C
        _end_at_once("interrupted", code)
    sys.exit(code if isinstance(code, int) else ExitCode.DONE)


def _end_at_once(message: str, code: int) -> NoReturn:
    """End without waiting for threads, which may be in the middle of an upload."""
    with suppress(OSError):
        print(f"docmill: {message}", file=sys.stderr, flush=True)
        sys.stdout.flush()
    os._exit(code)


def _end(message: str, code: int) -> NoReturn:
    if message:
        print(f"docmill: {message}", file=sys.stderr)
    # What cannot be written any more is not tried again: Python would complain at exit.
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _explain(error: Exception) -> tuple[str, ExitCode]:
    if isinstance(error, RefusedError):
        return str(error), ExitCode.FAILED
    if isinstance(error, UsageError):
        return str(error), ExitCode.USAGE
    if isinstance(error, DocmillError):
        return str(error), ExitCode.ENVIRONMENT
    format_message = getattr(error, "format_message", None)
    if format_message is not None:  # the command line's own
        command = getattr(getattr(error, "ctx", None), "command_path", "docmill")
        return f"{format_message().rstrip('.')} (see {command} --help)", ExitCode.USAGE
    from docmill.cli.unexpected import explain_unknown

    return explain_unknown(error)


def _print_version(wanted: bool) -> None:
    if wanted:
        from docmill import __version__

        print(f"docmill {__version__}")
        raise typer.Exit


def _help_without_command(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Turn files in Supabase Storage into searchable vectors in your own Postgres."""
    _help_without_command(context)


@index_app.callback(invoke_without_command=True)
def index_options(context: typer.Context) -> None:
    """How the active index version is searched."""
    _help_without_command(context)


@sources_app.callback(invoke_without_command=True)
def sources_options(context: typer.Context) -> None:
    """Which buckets are ingested."""
    _help_without_command(context)


@schema_app.callback(invoke_without_command=True)
def schema_options(context: typer.Context) -> None:
    """Create, upgrade and compare the tables and functions in your database."""
    _help_without_command(context)


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    json: Json = False,
) -> int:
    """Start the embedded stack, for development."""
    from docmill.cli import stack

    return stack.up(detach=detach, as_json=json)


@app.command()
def down() -> int:
    """Stop the embedded stack that runs here; its data stays."""
    from docmill.cli import stack

    return stack.down()


@app.command()
def status(json: Json = False) -> int:
    """What runs, what waits, what failed."""
    from docmill.cli import observe

    return observe.status(as_json=json)


@app.command()
def demo(
    documents: Annotated[
        Path | None, typer.Argument(help="A folder of your own documents.", exists=True)
    ] = None,
) -> int:
    """Upload, ingest and search as two users, all on this machine."""
    from docmill.embedded.extra import require_extra

    require_extra()
    from docmill.cli import demo as demo_command

    return demo_command.demo(documents)


@app.command()
def pause(
    source: Annotated[
        str | None, typer.Option(metavar="BUCKET[/PREFIX]", help="Only what this source ingests.")
    ] = None,
    owner: Annotated[str | None, typer.Option(metavar="SUB", help="Only this user's.")] = None,
    json: Json = False,
) -> int:
    """Let no job begin until `resume`; uploads are accepted, what runs goes on."""
    from docmill.cli import pauses

    return pauses.pause(source, owner, as_json=json)


@app.command()
def resume(
    source: Annotated[
        str | None, typer.Option(metavar="BUCKET[/PREFIX]", help="What was paused so.")
    ] = None,
    owner: Annotated[str | None, typer.Option(metavar="SUB", help="What was paused so.")] = None,
    json: Json = False,
) -> int:
    """End what `pause` with the same options began."""
    from docmill.cli import pauses

    return pauses.resume(source, owner, as_json=json)


class Period(StrEnum):
    """What a budget is for, in UTC."""

    DAY = "day"
    MONTH = "month"


Per = Annotated[Period, typer.Option("--per", help="A day or a month, in UTC.")]
EachOwner = Annotated[
    bool, typer.Option("--each-owner", help="For every owner who has no budget of their own.")
]


@budget_app.callback(invoke_without_command=True)
def budget_options(context: typer.Context) -> None:
    """Say how much may be spent on embeddings; over it jobs wait."""
    _help_without_command(context)


@budget_app.command("list")
def budget_list(json: Json = False) -> int:
    """List the budgets, with what is spent of each and how many jobs wait for it."""
    from docmill.cli import spending

    return spending.list_budgets(as_json=json)


@budget_app.command("set")
def budget_set(
    usd: Annotated[float, typer.Argument(metavar="USD", min=0)],
    per: Per,
    owner: Owner = None,
    each_owner: EachOwner = False,
    json: Json = False,
) -> int:
    """Set what may be spent in a day or a month: by all, by each owner, or by one."""
    from docmill.cli import spending

    return spending.set_budget(usd, per.value, owner, each_owner=each_owner, as_json=json)


@budget_app.command("remove")
def budget_remove(
    per: Per, owner: Owner = None, each_owner: EachOwner = False, json: Json = False
) -> int:
    """Remove such a budget."""
    from docmill.cli import spending

    return spending.remove_budget(per.value, owner, each_owner=each_owner, as_json=json)


@app.command()
def usage(
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="First day (UTC); the first of this month by default."
        ),
    ] = None,
    by: Annotated[
        str, typer.Option(help="owner, day, model, purpose, with commas in between.")
    ] = "day,model,purpose",
    owner: Owner = None,
    json: Json = False,
) -> int:
    """Show what embeddings have cost."""
    from docmill.cli import spending

    return spending.usage(since, by, owner, as_json=json)


class HnswChoice(StrEnum):
    """Whether there shall be an HNSW index."""

    ON = "on"
    OFF = "off"
    AUTO = "auto"


@index_app.command("hnsw")
def index_hnsw(
    choice: Annotated[HnswChoice, typer.Argument(help="auto: on where an owner has very much.")],
    json: Json = False,
) -> int:
    """Build or drop the HNSW index, which owners of more than 200,000 chunks are searched by."""
    from docmill.cli import index

    return index.hnsw(choice.value, as_json=json)


@reindex_app.callback(invoke_without_command=True)
def reindex_options(context: typer.Context) -> None:
    """Change model, provider or size of chunks while everybody searches."""
    _help_without_command(context)


Version = Annotated[int, typer.Argument(metavar="VERSION", min=1, max=_MOST)]
Anyway = Annotated[bool, typer.Option("--anyway", help="Although documents are missing.")]


@reindex_app.command("start")
def reindex_start(
    provider: Annotated[
        str | None, typer.Option(help="`local`, `openai` or a name of DOCMILL_PROVIDERS.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name of the model.", callback=_not_empty)
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, max=4000, help="Width of the embeddings.")
    ] = None,
    chunk_tokens: Annotated[
        int | None, typer.Option(min=32, max=6000, help="Most tokens in a chunk.")
    ] = None,
    document_prefix: Annotated[
        str | None, typer.Option(help="Put before each text.", callback=_text)
    ] = None,
    query_prefix: Annotated[
        str | None, typer.Option(help="Put before each query.", callback=_text)
    ] = None,
    send_dimensions: Annotated[
        bool | None, typer.Option(help="Tell the provider how many dimensions are wanted.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it takes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> int:
    """Make an index version like the active one but for what is named; the schedule fills it."""
    from docmill.cli import reindex

    return reindex.start(
        {
            "provider": provider,
            "model": model,
            "dimensions": dimensions,
            "chunk_tokens": chunk_tokens,
            "document_prefix": document_prefix,
            "query_prefix": query_prefix,
            "sends_dimensions": send_dimensions,
        },
        is_dry=dry_run,
        is_sure=yes,
        as_json=json,
    )


@reindex_app.command("status")
def reindex_status(json: Json = False) -> int:
    """Show every index version, and what is left to do."""
    from docmill.cli import reindex

    return reindex.status(as_json=json)


@reindex_app.command("pause")
def reindex_pause(version: Version) -> int:
    """Make no more jobs for a version."""
    from docmill.cli import reindex

    return reindex.pause(version, is_paused=True)


@reindex_app.command("resume")
def reindex_resume(version: Version) -> int:
    """Make jobs for a paused version again."""
    from docmill.cli import reindex

    return reindex.pause(version, is_paused=False)


@reindex_app.command("activate")
def reindex_activate(
    version: Version,
    anyway: Anyway = False,
) -> int:
    """Answer searches from a version that is filled."""
    from docmill.cli import reindex

    return reindex.activate(version, anyway=anyway)


@reindex_app.command("compare")
def reindex_compare(
    version: Version,
    queries: Annotated[
        Path | None, typer.Option(help="Your own queries, one on each line, with --owner.")
    ] = None,
    sample: Annotated[
        int, typer.Option(min=1, max=10_000, help="Else so many that are drawn from documents.")
    ] = 100,
    owner: Annotated[
        str | None, typer.Option(help="Search as this user, and for their documents alone.")
    ] = None,
    json: Json = False,
) -> int:
    """Search the active version and another one for the same, and show how they differ."""
    from docmill.cli import compare

    return compare.compare(version, queries=queries, sample=sample, owner=owner, as_json=json)


@reindex_app.command("rollback")
def reindex_rollback(anyway: Anyway = False) -> int:
    """Answer searches from the version that was active before."""
    from docmill.cli import reindex

    return reindex.rollback(anyway=anyway)


@reindex_app.command("drop")
def reindex_drop(version: Version) -> int:
    """Remove a version that is not active."""
    from docmill.cli import reindex

    return reindex.drop(version)


@reindex_app.command("documents")
def reindex_documents(
    outdated: Annotated[
        bool, typer.Option("--outdated", help="A live worker would read them better.")
    ] = False,
    failed: Annotated[
        str | None, typer.Option(metavar="CODE", help="Failed with this code.", callback=_not_empty)
    ] = None,
    unread_pages: Annotated[
        bool, typer.Option("--unread-pages", help="Some of their pages could not be read.")
    ] = False,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Published longer ago: 12h, 30d, 8w.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="BUCKET[/PREFIX]", help="In this bucket.", callback=_not_empty),
    ] = None,
    owner: Owner = None,
    limit: Annotated[
        int | None, typer.Option(min=1, max=_MOST, help="At most so many documents.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it takes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when every document is done.")
    ] = False,
    json: Json = False,
) -> int:
    """Read documents again in the active version; they are found as before until that is done."""
    from docmill.cli import rereading

    return rereading.documents(
        {
            "outdated": outdated,
            "failed": failed,
            "unread_pages": unread_pages,
            "older_than": older_than,
            "source": source,
            "owner": owner,
        },
        limit=limit,
        is_dry=dry_run,
        is_sure=yes,
        wait=wait,
        as_json=json,
    )


@app.command()
def recall(
    owners: Annotated[int, typer.Option(min=1, help="How many, from the largest down.")] = 5,
    queries: Annotated[int, typer.Option(min=1, help="Stored embeddings to search for.")] = 20,
    limit: Annotated[int, typer.Option(help="Hits of each search.")] = 10,
    bucket: Annotated[str | None, typer.Option(help="Only in this bucket.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Only in paths that begin so.")] = None,
    json: Json = False,
) -> int:
    """Measure how many of the nearest passages searches find, against a comparison with all."""
    from docmill.cli import index

    return index.recall(
        owners=owners, queries=queries, k=limit, bucket=bucket, prefix=prefix, as_json=json
    )


@app.command()
def reconcile(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing.")] = False,
    json: Json = False,
) -> int:
    """Compare all of Storage with all documents, say what differs, and repair it."""
    from docmill.cli import reconcile as reconcile_command

    return reconcile_command.reconcile(dry_run=dry_run, as_json=json)


@app.command()
def webhook() -> int:
    """Receive Storage's webhooks."""
    from docmill.cli import processes

    return processes.webhook()


@app.command()
def worker(
    isolated: Annotated[
        bool, typer.Option("--isolated", help="One slot, for jobs whose worker died once.")
    ] = False,
) -> int:
    """Run jobs."""
    from docmill.cli import processes

    return processes.worker(isolated=isolated)


@app.command()
def beat() -> int:
    """Send the schedule's messages: dispatch, rescue, reconcile, and what is due at a time."""
    from docmill.cli import processes

    return processes.beat()


@app.command()
def schedule(json: Json = False) -> int:
    """What runs at which times, when next, and what its last run did and cost."""
    from docmill.cli import schedule as schedule_command

    return schedule_command.schedule(as_json=json)


@app.command()
def flower() -> int:
    """Serve Flower, the operators' dashboard."""
    from docmill.cli import processes

    return processes.flower()


@app.command()
def mcp(
    http: Annotated[
        bool, typer.Option("--http", help="Serve streamable HTTP, each request as its bearer.")
    ] = False,
) -> int:
    """Let agents search and read as a user, by the Model Context Protocol."""
    from docmill.cli import mcp_server

    return mcp_server.mcp(over_http=http)


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", exists=True)],
    bucket: Annotated[str, typer.Option(help="Bucket to upload to.", callback=_text)] = "documents",
    owner: Owner = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when every document is done.")
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Upload nothing: say what it would cost.")
    ] = False,
    json: Json = False,
) -> int:
    """Upload files or folders; the rest happens by itself."""
    if estimate:
        from docmill.cli import estimate as estimate_command
        from docmill.cli.ingest import find_files

        return estimate_command.estimate(find_files(paths, folder=""), as_json=json)
    from docmill.cli import ingest as ingest_command

    return ingest_command.ingest(paths, bucket=bucket, owner=owner, wait=wait, as_json=json)


@app.command()
def jobs(
    state: Annotated[
        str | None, typer.Option(help="Only jobs in this state.", callback=_text)
    ] = None,
    owner: Owner = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 50,
    json: Json = False,
) -> int:
    """List jobs, newest first."""
    from docmill.cli import observe

    return observe.jobs(state=state, owner=owner, limit=limit, as_json=json)


@app.command()
def job(job_id: JobId, json: Json = False) -> int:
    """Show one job with all its fields and attempts."""
    from docmill.cli import observe

    return observe.job(job_id, as_json=json)


@app.command()
def cancel(job_id: JobId, json: Json = False) -> int:
    """Cancel a job; one that runs stops within about a second."""
    from docmill.cli import requests

    return requests.cancel(job_id, as_json=json)


@app.command()
def retry(job_id: JobId, json: Json = False) -> int:
    """Try the document of a failed or cancelled job again, with a new job."""
    from docmill.cli import requests

    return requests.retry(job_id, as_json=json)


@app.command()
def quarantine(
    retry: Annotated[
        bool, typer.Option("--retry", help="Try the documents of all that are listed again.")
    ] = False,
    owner: Owner = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    json: Json = False,
) -> int:
    """List the chunks that the embedding provider refused, or try them again."""
    from docmill.cli import quarantine as quarantine_command

    if retry:
        return quarantine_command.retry(owner=owner, as_json=json)
    return quarantine_command.quarantine(owner=owner, limit=limit, as_json=json)


@app.command()
def explain(job_id: JobId, json: Json = False) -> int:
    """Say where a job stands, why, and what to do."""
    from docmill.cli import requests

    return requests.explain(job_id, as_json=json)


@app.command()
def watch(
    owner: Owner = None,
    until_idle: Annotated[bool, typer.Option(help="Stop when no job is left to do.")] = False,
    json: Json = False,
) -> int:
    """Follow jobs live until Ctrl-C."""
    from docmill.cli import observe

    return observe.watch(owner=owner, until_idle=until_idle, as_json=json)


class SearchedBy(StrEnum):
    """What a query is compared with."""

    WORDS = "words"
    MEANING = "meaning"
    BOTH = "both"


@app.command()
def search(
    query: str,
    owner: Owner = None,
    by: Annotated[
        SearchedBy, typer.Option(help="The words of passages, their embeddings, or both.")
    ] = SearchedBy.BOTH,
    limit: Annotated[int, typer.Option("-k", help="Number of hits.", min=1, max=200)] = 5,
    json: Json = False,
) -> int:
    """Find passages, as this user may find them."""
    from docmill.cli import search as search_command

    return search_command.search(query, by=by.value, owner=owner, limit=limit, as_json=json)


@app.command()
def ask(question: str, owner: Owner = None, json: Json = False) -> int:
    """Answer a question from what this user may find, with sources."""
    from docmill.cli import ask as ask_command

    return ask_command.ask(question, owner=owner, as_json=json)


@app.command()
def extract(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)],
    chunks: Annotated[bool, typer.Option("--chunks", help="What is embedded, instead.")] = False,
    json: Json = False,
) -> int:
    """Show what is read from a file. Needs no service."""
    from docmill.cli import extract as extract_command

    return extract_command.extract(file, chunks=chunks, as_json=json)


@app.command()
def config(json: Json = False) -> int:
    """Show every setting: its value, secrets redacted, and where it comes from."""
    from docmill.cli import config as config_command

    return config_command.config(as_json=json)


@app.command()
def doctor(json: Json = False) -> int:
    """Check every dependency and say the remedy."""
    from docmill.cli import doctor as doctor_command

    return doctor_command.doctor(as_json=json)


@app.command("verify-rls")
def verify_rls(json: Json = False) -> int:
    """Let throw-away tenants try to read and change what is not theirs; nothing is kept."""
    from docmill.cli import verify_rls as verify_command

    return verify_command.verify_rls(as_json=json)


@sources_app.command("add")
def sources_add(
    bucket: Bucket,
    prefix: Annotated[
        str, typer.Option(help="Only objects whose name starts with this.", callback=_text)
    ] = "",
    owner_from: Annotated[
        str,
        typer.Option(help="Who owns a document: uploader, folder:N or fixed:SUB.", callback=_text),
    ] = "uploader",
    access: Annotated[
        str,
        typer.Option(
            help="owner: its owner; inherit: whoever may read the object in Storage.",
            callback=_text,
        ),
    ] = "owner",
    priority: Annotated[int, typer.Option(help="0 (first) to 9.")] = 5,
    weight: Annotated[
        float, typer.Option(help="Share of the workers beside other sources of this priority.")
    ] = 1.0,
    max_bytes: Annotated[int | None, typer.Option(help="Larger files are refused.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what is there.")] = False,
    json: Json = False,
) -> int:
    """Ingest a bucket: what is there already, and what comes. Again: with other rules."""
    from docmill.cli import sources

    source = sources.Source(bucket, prefix, owner_from, access, priority, weight, max_bytes)
    return sources.add(source, dry_run=dry_run, as_json=json)


@sources_app.command("remove")
def sources_remove(
    bucket: Bucket,
    prefix: Annotated[str, typer.Option(help="The prefix it was added with.", callback=_text)] = "",
    forget: Annotated[
        bool, typer.Option("--forget", help="Remove its documents from search as well.")
    ] = False,
    json: Json = False,
) -> int:
    """Stop ingesting a bucket. What is searchable stays until its file changes."""
    from docmill.cli import sources

    return sources.remove(bucket, prefix=prefix, forget=forget, as_json=json)


@sources_app.command("list")
def sources_list(json: Json = False) -> int:
    """List the buckets that are ingested."""
    from docmill.cli import sources

    return sources.list_all(as_json=json)


@schema_app.command("apply")
def schema_apply(json: Json = False) -> int:
    """Create or upgrade the schema. Repeatable; needs DOCMILL_ADMIN_DATABASE_URL."""
    from docmill.cli import schema

    return schema.apply(as_json=json)


@schema_app.command("export")
def schema_export(
    to: Annotated[
        Path, typer.Option("--to", metavar="FOLDER", help="The migrations of a Supabase project.")
    ] = Path("supabase/migrations"),
    json: Json = False,
) -> int:
    """Write what `schema apply` does as a migration of the Supabase CLI. Needs no database."""
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
        typer.Option(metavar="URL", help="Where docmill webhook is reached.", callback=_text),
    ] = None,
    rotate: Annotated[bool, typer.Option("--rotate", help="Sign with a new secret.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Send no more.")] = False,
    json: Json = False,
) -> int:
    """Let the database send signed events to the receiver; without options, say what is set up."""
    from docmill.cli import doorbell

    return doorbell.doorbell(url, rotate=rotate, remove=remove, as_json=json)
