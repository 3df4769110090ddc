"""`docmill reindex compare`."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from docmill.cli.admin import admin_connection, owner_id
from docmill.cli.context import settings_in_use
from docmill.cli.costs import book_queries
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import Row, console, count_of, print_json, print_rows
from docmill.worker.admin import compare as comparing
from docmill.worker.admin.compare import Answer, K, Question, Version
from docmill.worker.admin.overlap import document_overlap, is_found, passage_overlap, percentile
from docmill.worker.errors import RefusedError, UsageError
from docmill.worker.processes.connections import build_embedder
from docmill.worker.providers.base import Kind
from docmill.worker.settings.processes import Settings
from docmill.worker.store.database import Connection

_COLUMNS = ("version", "state", "model", "dimensions", f"known@{K}", "median_ms", "p95_ms")
_SIZES = ("chunks", "table_mb", "index_mb")


def compare(
    version: int, *, queries: Path | None, sample: int, owner: str | None, as_json: bool
) -> int:
    """Run the same queries on the active version and another one, and print the differences."""
    texts = None if queries is None else saved_queries(queries)
    if texts is not None and owner is None:
        raise UsageError("saved queries are searched as one user: name them with --owner SUB")
    settings = settings_in_use()
    subject = owner_id(settings, owner)
    with admin_connection(settings) as connection:
        versions = comparing.pair(connection, version)
        if texts is not None and subject is not None:
            questions = [Question(text, subject) for text in texts]
        else:
            questions = comparing.draw(connection, versions, owner=subject, many=sample)
        if not questions:
            raise RefusedError(
                f"version {version} and the active one share no document of an owner"
            )
        report = compared(connection, settings, versions, questions)
    _print(report, as_json=as_json)
    return ExitCode.DONE


def saved_queries(path: Path) -> list[str]:
    """The lines of a file that are not blank. Raises UsageError if there are none."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {type(error).__name__}") from None
    queries = [line.strip() for line in lines if line.strip()]
    if not queries:
        raise UsageError(f"{path} holds no query: write one on each line")
    return queries


def compared(
    connection: Connection,
    settings: Settings,
    versions: tuple[Version, Version],
    questions: Sequence[Question],
) -> Row:
    """What both versions answer, and how similar the answers are.

    Raises JobError, SettingsError.
    """
    answers = []
    for one in versions:
        embedder = build_embedder(settings, one.index, kind=Kind.QUERY)
        batch = settings.embedding_batch_size
        vectors, tokens = comparing.embed(embedder, one.index, questions, batch=batch)
        # An operator asks, not the owners of the questions.
        book_queries(connection, settings, one.index, tokens, owner=None)
        answers.append(comparing.ask(connection, one.index.id, questions, vectors))
    found = [[answer.hits for answer in each] for each in answers]
    return {
        "queries": len(questions),
        "owners": len({question.owner for question in questions}),
        "document_overlap": fmean(map(document_overlap, *found)),
        "passage_overlap": fmean(map(passage_overlap, *found)),
        "versions": [
            _figures(one, questions, each) | comparing.size(connection, one.index.id)
            for one, each in zip(versions, answers, strict=True)
        ],
    }


def _figures(version: Version, questions: Sequence[Question], answers: Sequence[Answer]) -> Row:
    found = [
        is_found(question.known, answer.hits)
        for question, answer in zip(questions, answers, strict=True)
        if question.known is not None
    ]
    times = [answer.milliseconds for answer in answers]
    return {
        "version": version.index.id,
        "state": version.state,
        "model": version.index.model,
        "dimensions": version.index.dimensions,
        "known_item_rate": fmean(found) if found else None,
        "median_ms": median(times),
        "p95_ms": percentile(times, 0.95),
    }


def _print(report: Row, *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    rows = [
        {
            **row,
            f"known@{K}": row["known_item_rate"],
            "table_mb": row["table_bytes"] / 1e6,
            "index_mb": row["index_bytes"] / 1e6,
        }
        for row in report["versions"]
    ]
    print_rows(rows, (*_COLUMNS, *_SIZES), as_json=False)
    asked = f"{report['queries']} queries as {count_of(report['owners'], 'owner')}"
    console().print(
        f"{asked}: overlap@{K} of documents {report['document_overlap']:.2f}, "
        f"of passages {report['passage_overlap']:.2f}"
    )
