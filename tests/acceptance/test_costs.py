"""Costs: nothing is paid twice, nothing exceeds a budget, and the price is shown before."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from docmill.worker.embedding.serving import HARMLESS_TEXT
from tests.support.installation import ALICE, BOB, BUCKET, Installation, until
from tests.support.provider_program import tokens_of

#: A dollar for each token of the fake provider.
DOLLAR_A_TOKEN = {"DOCMILL_EMBEDDING_USD_PER_MILLION_TOKENS": "1000000"}


def sections(subject: str, count: int) -> str:
    filler = "It says so at some length, as pages like this one do. " * 20
    return "\n".join(f"# Part {n}\n\n{subject}, part {n}. {filler}\n" for n in range(count))


@pytest.fixture(scope="module")
def paid(shared_installation: Installation) -> Installation:
    """A worker that pays a dollar per token and sends one text per request."""
    shared_installation.settings |= {
        **DOLLAR_A_TOKEN,
        "DOCMILL_EMBEDDING_BATCH_SIZE": "1",
        "DOCMILL_EMBEDDING_REQUESTS": "1",
        "DOCMILL_KEEP_EMBEDDINGS_DAYS": "1",
        "DOCMILL_DISPATCH_SECONDS": "1",
    }
    shared_installation.start("beat")
    shared_installation.start_webhook()
    shared_installation.start_worker()
    return shared_installation


@pytest.fixture(autouse=True)
def without_budgets(paid: Installation) -> Iterator[None]:
    yield
    for row in paid.docmill_rows("budget", "list"):
        owner = ["--owner", row["owner_id"]] if row["scope"] == "owner" else []
        each = ["--each-owner"] if row["scope"] == "each_owner" else []
        paid.docmill("budget", "remove", "--per", row["period"], *owner, *each)


def ingested(paid: Installation, owner: str, name: str, text: str) -> dict[str, object]:
    job = paid.wait_for_job(paid.upload(owner, name, text))
    assert job["state"] == "succeeded", job
    return job


def test_a_copy_costs_nothing_and_another_owner_pays(paid: Installation) -> None:
    text = sections("The kiln", 3)
    first = ingested(paid, ALICE, "kiln.md", text)
    assert (first["chunks_embedded"], first["chunks_reused"]) == (3, 0)
    copy = ingested(paid, ALICE, "copy.md", text)
    assert (copy["chunks_embedded"], copy["chunks_reused"]) == (0, 3)
    assert (copy["tokens_used"], float(str(copy["cost_usd"]))) == (0, 0)
    part = ingested(paid, ALICE, "more.md", sections("The kiln", 4))
    assert (part["chunks_embedded"], part["chunks_reused"]) == (1, 3)
    bobs = ingested(paid, BOB, "kiln.md", text)
    assert (bobs["chunks_embedded"], bobs["chunks_reused"]) == (3, 0)
    hits = paid.search(ALICE, paid.openai.texts[0], limit=50)
    assert {"kiln.md", "copy.md", "more.md"} <= {
        hit["object_name"].rpartition("/")[2] for hit in hits
    }


def test_copies_that_are_uploaded_together_are_paid_for_once(paid: Installation) -> None:
    text = sections("The twins", 6)
    names = ("left.md", "middle.md", "right.md")
    with ThreadPoolExecutor(len(names)) as pool:
        uploads = list(pool.map(lambda name: paid.upload(ALICE, name, text), names))
    jobs = [paid.wait_for_job(upload) for upload in uploads]
    assert [job["state"] for job in jobs] == ["succeeded"] * 3
    # The provider's own record.
    asked = [text for text in paid.openai.texts if "The twins" in text]
    assert len(asked) == len(set(asked)) == 6
    assert sum(job["chunks_embedded"] for job in jobs) == 6
    assert sum(job["chunks_reused"] for job in jobs) == 12


def test_what_was_deleted_is_not_paid_for_again(paid: Installation) -> None:
    text = sections("The ladder", 2)
    ingested(paid, ALICE, "ladder.md", text)
    paid.client(ALICE).storage.from_(BUCKET).remove([f"{ALICE}/ladder.md"])
    until(
        lambda: not paid.rows("select from ingest_private.withdrawn") or None, "it is removed", 30
    )
    again = ingested(paid, ALICE, "ladder again.md", text)
    assert (again["chunks_embedded"], again["chunks_reused"]) == (0, 2)
    bobs = ingested(paid, BOB, "ladder.md", text)
    assert bobs["chunks_embedded"] == 2


def test_over_its_budget_a_document_waits_and_goes_on_from_there(paid: Installation) -> None:
    paid.docmill("budget", "set", "0.5", "--per", "day", "--owner", ALICE)
    name = paid.upload(ALICE, "long.md", sections("The long one", 12))
    held = paid.wait_for_job(name, "queued")
    until(
        lambda: (
            ((held := paid.latest_job(name)) and held["hold_reason"] == "owner_budget_exceeded")
            or None
        ),
        "it is held",
    )
    assert paid.wait_for_job(paid.upload(BOB, "his.md", "He may."))["state"] == "succeeded"
    (found,) = paid.docmill_rows("explain", str(held["id"]))
    assert "of 0.50 USD" in found["explanation"]
    (row,) = paid.docmill_rows("budget", "list")
    assert (row["scope"], row["held_jobs"]) == ("owner", 1)

    spent = sum(entry["usd"] for entry in paid.docmill_rows("usage", "--owner", ALICE))
    asked = len(paid.openai.requests)
    paid.docmill("budget", "set", str(spent + 200), "--per", "day", "--owner", ALICE)
    until(
        lambda: len(paid.openai.requests) > asked or None,
        "it goes on",
    )
    paid.docmill("budget", "remove", "--per", "day", "--owner", ALICE)
    done = paid.wait_for_job(name)
    assert (done["state"], done["attempt"]) == ("succeeded", 1)
    # No part of it was requested twice.
    asked_for = [text for text in paid.openai.texts if "The long one" in text]
    assert len(asked_for) == len(set(asked_for)) == 12


def test_usage_is_what_the_jobs_cost(paid: Installation) -> None:
    ingested(paid, ALICE, "one more.md", sections("One more", 2))
    jobs = paid.rows("select sum(tokens_used) as tokens, sum(cost_usd) as usd from ingest.jobs")
    every = paid.docmill_rows("usage", "--by", "owner,purpose")
    rows = [row for row in every if row["purpose"] != "query"]
    assert sum(row["tokens"] for row in rows) == jobs[0]["tokens"]
    assert sum(row["usd"] for row in rows) == pytest.approx(float(jobs[0]["usd"]))
    assert {row["purpose"] for row in rows} == {"ingest"}
    # The provider's own record: every text it got, except those that only test its key.
    billed = [tokens_of(text) for text in paid.openai.texts if text != HARMLESS_TEXT]
    assert sum(row["tokens"] for row in rows) == sum(billed)


def test_searches_are_booked_on_who_searches_and_stop_no_upload(paid: Installation) -> None:
    ingested(paid, BOB, "to find.md", sections("To be found", 1))
    sent = len(paid.openai.texts)
    before = query_tokens(paid, BOB)
    for text in ("the one to find", "another"):
        paid.docmill_rows("search", text, "--owner", BOB)
    billed = [tokens_of(text) for text in paid.openai.texts[sent:] if text != HARMLESS_TEXT]
    assert len(billed) == 2
    assert query_tokens(paid, BOB) - before == sum(billed)
    # A dollar for each token: they would be over this budget if queries counted.
    paid.docmill("budget", "set", "0.5", "--per", "month", "--owner", BOB)
    (row,) = paid.docmill_rows("budget", "list")
    spent = sum(
        row["usd"]
        for row in paid.docmill_rows("usage", "--by", "purpose", "--owner", BOB)
        if row["purpose"] == "ingest"
    )
    assert row["spent"] == pytest.approx(spent)


def query_tokens(paid: Installation, owner: str) -> int:
    rows = paid.docmill_rows("usage", "--by", "purpose", "--owner", owner)
    return sum(row["tokens"] for row in rows if row["purpose"] == "query")


def test_an_estimate_is_what_is_paid_then(paid: Installation, tmp_path: Path) -> None:
    file = tmp_path / "estimated.md"
    file.write_text(sections("The estimate", 4))
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 and no more")
    asked = len(paid.openai.requests)
    *files, total = paid.docmill_rows("ingest", "--estimate", str(tmp_path))
    assert len(paid.openai.requests) == asked
    assert [row["error_code"] is None for row in files] == [False, True]
    assert total["total"]["unread"] == 1
    job = ingested(paid, ALICE, file.name, file.read_text())
    (row,) = [row for row in files if row["error_code"] is None]
    assert row["chunks"] == job["chunks_embedded"] == total["total"]["chunks"]
    assert row["tokens"] == total["total"]["tokens"] > 0
