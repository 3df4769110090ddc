"""`docmill reindex`: change model, provider or chunk size while searches go on."""

from math import ceil
from typing import Any, Final

from psycopg.types.json import Jsonb

from docmill.cli.admin import admin_connection
from docmill.cli.bulk import price_in
from docmill.cli.confirm import require_yes
from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import Row, console, count_of, print_json, print_rows
from docmill.cli.pace import Pace, pace_of
from docmill.worker.admin import reindex
from docmill.worker.admin.graph import Choice
from docmill.worker.errors import RefusedError, UsageError
from docmill.worker.providers.base import Provider
from docmill.worker.providers.registry import PROVIDERS
from docmill.worker.settings.parts import PROVIDER_NAME
from docmill.worker.settings.processes import Settings

_COLUMNS: Final = (
    *("id", "state", "provider", "model", "dimensions", "documents", "missing", "jobs"),
    "jobs_in_batch",
    *("documents_per_minute", "minutes_left"),
)
_SHOWN: Final = 10


def start(wanted: Row, *, is_bulk: bool, is_dry: bool, is_sure: bool, as_json: bool) -> int:
    """Make an index version that differs from the active one in what is named; it is filled.

    `is_bulk`: through batches of the provider.
    """
    settings = settings_in_use()
    with admin_connection(settings) as connection:
        active = reindex.active(connection)
        plan = planned(active, wanted)
        price = price_in(settings, plan["provider"], plan["model"], is_bulk=is_bulk)
        usd = float(active["tokens"]) * price / 1e6
        pace = pace_of(
            settings,
            plan["provider"],
            plan["model"],
            chunks=int(active["chunks"]),
            tokens=int(active["tokens"]),
            is_bulk=is_bulk,
        )
        alike = reindex.alike(connection, _as_parameters(plan))
        if alike is not None:
            raise RefusedError(f"index version {alike} is the same: docmill reindex status")
        if not is_dry:
            said, can_ask = _cost(active, usd, pace), not as_json
            require_yes(said, "pay for that", is_sure=is_sure, can_ask=can_ask)
        report = {
            "id": None
            if is_dry
            else reindex.create(connection, _as_parameters(plan), is_bulk=is_bulk),
            **plan,
            "is_bulk": is_bulk,
            **{name: active[name] for name in ("documents", "chunks", "tokens")},
            "cost_usd": usd,
            "minutes_at_least": pace.minutes,
        }
    if as_json:
        print_json(report)
        return ExitCode.DONE
    if is_dry:
        console().print(_cost(active, usd, pace))
    else:
        console().print(f"index version {report['id']} is being filled: docmill reindex status")
    return ExitCode.DONE


def _cost(active: Row, usd: float, pace: Pace) -> str:
    return (
        f"{count_of(active['documents'], 'document')}, {active['chunks']} chunks, "
        f"{active['tokens']} tokens, ${usd:.2f} at the price in the settings; {pace.said}"
    )


def planned(active: Row, wanted: Row) -> Row:
    """The new version: the active one with the wanted changes. Raises UsageError."""
    changed = {name: value for name, value in wanted.items() if value is not None}
    sizes = {name: changed.pop(name, None) for name in ("chunk_tokens", "overlap")}
    chunking = _chunking(active, changed.get("provider") or active["provider"], **sizes)
    if "model" in changed and "dimensions" not in changed:
        raise UsageError("another model needs --dimensions, the width of its embeddings")
    if not changed and chunking == active["chunking"]:
        raise UsageError(
            "name what to change: --model, --dimensions, --chunk-tokens, --overlap, ..."
        )
    if "model" in changed:
        changed = {"document_prefix": "", "query_prefix": "", "sends_dimensions": None, **changed}
    names = ("model", "dimensions", "provider", "sends_dimensions", "document_prefix")
    plan = {name: active[name] for name in (*names, "query_prefix")} | changed
    _check_provider(plan)
    provider = PROVIDERS.get(plan["provider"])
    if provider is not None:
        if plan["sends_dimensions"] is None:
            plan["sends_dimensions"] = provider.sends_dimensions(plan["model"])
        _check_size(provider, plan["model"], chunking["max_tokens"])
        _check_width(provider, plan)
    return plan | {"chunking": chunking}


def _chunking(
    active: Row, provider: str, *, chunk_tokens: int | None, overlap: int | None
) -> dict[str, Any]:
    """The active version's way to cut, with another size or overlap. Raises UsageError."""
    chunking = dict(active["chunking"])
    if overlap is not None:
        chunking.pop("overlap", None)
        chunking |= {"overlap": overlap} if overlap else {}
    if chunk_tokens:
        chunking["max_tokens"] = chunk_tokens
        chunking.pop("counter", None)
    elif provider != active["provider"]:
        # Count tokens as before: the chunks stay the same, and no file has to be read.
        chunking = {"counter": active["provider"], **chunking}
    if chunking.get("overlap", 0) > chunking["max_tokens"] // 2:
        raise UsageError(
            f"chunks of {chunking['max_tokens']} tokens overlap by half of that at most: --overlap "
            f"{chunking['max_tokens'] // 2} or less"
        )
    return chunking


def _check_provider(plan: Row) -> None:
    if not PROVIDER_NAME.fullmatch(plan["provider"]):
        names = ", ".join(PROVIDERS)
        raise UsageError(f"--provider is one of {names}, or a name of DOCMILL_PROVIDERS")
    for provider in PROVIDERS.values():
        if provider.is_closed:
            _check_closed(provider, plan)


def _check_size(provider: Provider, model: str, chunk_tokens: int) -> None:
    limit = provider.limits_for(model).text_tokens
    if chunk_tokens > limit:
        raise UsageError(
            f"chunks have up to {chunk_tokens} tokens, but {model} takes {limit}: use "
            f"--chunk-tokens {limit} or less"
        )


def _check_width(provider: Provider, plan: Row) -> None:
    """Refuse dimensions that a known model cannot have: each of its embeddings would be refused."""
    known = provider.models.get(plan["model"])
    if known is None or plan["dimensions"] == known.dimensions:
        return
    if plan["dimensions"] > known.dimensions or not known.resizes:
        least = "at most " if known.resizes else ""
        raise UsageError(
            f"{plan['model']} has {least}{known.dimensions} dimensions: --dimensions "
            f"{known.dimensions}"
        )
    if not plan["sends_dimensions"]:
        raise UsageError(
            f"{plan['model']} has {known.dimensions} dimensions unless asked: --send-dimensions"
        )


def _check_closed(provider: Provider, plan: Row) -> None:
    """Refuse a model that the provider lacks, or that only another local provider has."""
    known = provider.models.get(plan["model"])
    if plan["provider"] == provider.name:
        if known is None or plan["dimensions"] != known.dimensions:
            model, it = next(iter(provider.models.items()))
            raise UsageError(
                f"the provider {provider.name} has one model: name another --provider, or --model "
                f"{model} --dimensions {it.dimensions}"
            )
    elif known is not None:
        raise UsageError(
            f"only the provider {provider.name} has {plan['model']}: name --model and --dimensions"
        )


def _as_parameters(plan: Row) -> Row:
    return plan | {"chunking": Jsonb(plan["chunking"])}


def status(*, as_json: bool) -> int:
    """Print every index version, and how much work is left for those that are being filled."""
    settings = settings_in_use()
    with admin_connection(settings) as connection:
        rows = reindex.versions(connection)
        whole = next((row["published_tokens"] for row in rows if row["state"] == "active"), 0)
        for row in rows:
            row["estimated_usd"] = _estimated(settings, row, int(whole))
            row["minutes_left"] = minutes_left(row["missing"], row["documents_per_minute"])
            row["failures"] = reindex.failures(connection, row["id"])
    print_rows(rows, _COLUMNS, as_json=as_json)
    if not as_json:
        for row in rows:
            if row["estimated_usd"]:
                console().print(
                    f"version {row['id']}: ${float(row['cost_usd']):.2f} spent, "
                    f"${row['estimated_usd']:.2f} expected in all"
                )
            for failure in row["failures"]:
                console().print(
                    f"version {row['id']}: {failure['error_code']}, "
                    f"{count_of(failure['documents'], 'document')}"
                )
    return ExitCode.DONE


def _estimated(settings: Settings, row: Row, tokens: int) -> float | None:
    """Dollars that a version costs in all, if it is as long as the active one.

    None for a version that is not being filled, or whose price is not known.
    """
    if row["state"] != "building":
        return None
    way = (
        settings.bulk_usd_per_million_tokens if row["is_bulk"] else settings.usd_per_million_tokens
    )
    price = way(row["provider"], row["model"])
    return None if price is None else tokens * price / 1e6


def minutes_left(missing: int | None, per_minute: float | None) -> int | None:
    """Minutes left at the rate of the last ten; None if nothing is missing or nothing was done."""
    return ceil(missing / per_minute) if missing and per_minute else None


def pause(version: int, *, is_paused: bool) -> int:
    """Stop making jobs for a version, or start again."""
    with admin_connection(settings_in_use()) as connection:
        reindex.pause(connection, version, is_paused=is_paused)
    console().print(f"index version {version} is {'paused' if is_paused else 'being filled'}")
    return ExitCode.DONE


def activate(version: int, *, anyway: bool, drop_after: str | None) -> int:
    """Answer searches from a filled version; the previous one is kept up to date beside it."""
    with admin_connection(settings_in_use()) as connection:
        if reindex.activate_soon(connection, version, anyway=anyway, drop_after=drop_after):
            console().print(f"index version {version} is active")
            return ExitCode.DONE
        names = [
            f"{row['bucket_id']}/{row['object_name']}"
            for row in reindex.missing(connection, version, _SHOWN)
        ]
    raise RefusedError(
        f"index version {version} lacks documents, among them {', '.join(names)}: their jobs go "
        "like uploads now; wait for docmill reindex status to say 0 missing, or use --anyway"
    )


def rollback(*, anyway: bool, drop_after: str | None) -> int:
    """Answer searches from the previously active version."""
    with admin_connection(settings_in_use()) as connection:
        version = reindex.former(connection)
    return activate(version, anyway=anyway, drop_after=drop_after)


def cancel(version: int) -> int:
    """Give up a version that was never active."""
    with admin_connection(settings_in_use()) as connection:
        reindex.cancel(connection, version)
    console().print(f"index version {version} is cancelled, and nothing of it is left")
    return ExitCode.DONE


def build(version: int, choice: Choice | None, *, anyway: bool, as_json: bool) -> int:
    """Build the indexes of a filled version before it answers searches, and say what took how long.

    Without a choice it gets an HNSW index if it, or the active version, was told to have one.
    """
    with admin_connection(settings_in_use()) as connection:
        built = reindex.build(connection, version, choice, anyway=anyway)
    if as_json:
        print_json(vars(built))
        return ExitCode.DONE
    load = "" if built.load_seconds is None else f"filled in {built.load_seconds:.0f} s; "
    index = (
        f"HNSW index built in {built.build_seconds:.0f} s" if built.has_graph else "no HNSW index"
    )
    console().print(
        f"index version {version}: {load}{index}, {built.largest:,} chunks of the largest owner"
    )
    return ExitCode.DONE


def drop(version: int) -> int:
    """Remove a version that is not active."""
    with admin_connection(settings_in_use()) as connection:
        reindex.drop(connection, version)
    console().print(f"index version {version} is dropped")
    return ExitCode.DONE
