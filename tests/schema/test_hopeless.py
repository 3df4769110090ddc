"""An error that counts no attempt still ends a job if the job itself is the cause."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import pytest

from tests.schema.actors import Connection, Run, claimed, document_of, job_of, rows, stage, value
from tests.support.database import put_object

CODES = (
    *("storage_unavailable", "object_changed", "rate_limited", "provider_unavailable"),
    *("database_unavailable", "no_space", "internal_error"),
)


@pytest.fixture
def job_id(admin: Connection) -> UUID:
    return job_of(admin, put_object(admin, "stubborn.txt"))


def release(worker: Connection, run: Run, code: str | None) -> None:
    worker.execute(
        "select ingest_private.release_job(%s, %s, %s, null, '0')", [run.job_id, run.token, code]
    )


def meet(worker: Connection, job_id: UUID, code: str, times: int = 1) -> None:
    """Let runs of a job meet an error."""
    for _ in range(times):
        release(worker, claimed(worker, job_id), code)


def pass_time(admin: Connection, job_id: UUID, how_long: str) -> None:
    """Move the job's earlier runs into the past."""
    admin.execute(
        "update ingest_private.attempts"
        "   set started_at = started_at - %s::interval, finished_at = finished_at - %s::interval"
        " where job_id = %s",
        [how_long, how_long, job_id],
    )


def others(admin: Connection, count: int, outcome: str, code: str | None = None) -> None:
    """Runs of another document that just ended."""
    other = job_of(admin, put_object(admin, f"other {outcome} {code} {count}.txt"))
    admin.execute(
        """insert into ingest_private.attempts
               (job_id, token, attempt, worker_id, isolated, finished_at, outcome, error_code)
           select %s, nextval('ingest_private.lease_token'), 1, 'w', false, clock_timestamp(),
                  %s, %s
             from generate_series(1, %s)""",
        [other, outcome, code, count],
    )


def state_of(admin: Connection, job_id: UUID) -> tuple[str, str | None]:
    [row] = rows(admin, "select state, error_code from ingest.jobs where id = %s", job_id)
    return row["state"], row["error_code"]


@pytest.mark.parametrize("code", CODES)
def test_what_only_this_document_meets_fails_it(
    admin: Connection, worker: Connection, job_id: UUID, code: str
) -> None:
    meet(worker, job_id, code, 4)
    pass_time(admin, job_id, "31 minutes")
    others(admin, 10, "succeeded")
    assert state_of(admin, job_id) == ("queued", code)
    meet(worker, job_id, code)
    assert state_of(admin, job_id) == ("failed", code)
    object_id = value(admin, "select id from storage.objects where name = 'stubborn.txt'")
    document = document_of(admin, object_id)
    assert (document["status"], document["error_code"]) == ("failed", code)


def test_errors_of_one_dependency_count_together(
    admin: Connection, worker: Connection, job_id: UUID
) -> None:
    for code in ("storage_unavailable", "object_changed") * 2:
        meet(worker, job_id, code)
    pass_time(admin, job_id, "1 hour")
    others(admin, 10, "succeeded")
    meet(worker, job_id, "object_changed")
    assert state_of(admin, job_id) == ("failed", "object_changed")


class TestStaysQueued:
    """Cases in which the job must not fail."""

    @pytest.mark.parametrize("hours", [1, 24, 24 * 30])
    def test_an_outage_for_all_however_long(
        self, admin: Connection, worker: Connection, job_id: UUID, hours: int
    ) -> None:
        meet(worker, job_id, "provider_unavailable", 30)
        pass_time(admin, job_id, f"{hours} hours")
        others(admin, 200, "released", "provider_unavailable")
        others(admin, 20, "succeeded")
        meet(worker, job_id, "provider_unavailable")
        assert state_of(admin, job_id)[0] == "queued"

    def test_an_outage_that_has_just_ended(
        self, admin: Connection, worker: Connection, job_id: UUID
    ) -> None:
        meet(worker, job_id, "storage_unavailable", 30)
        pass_time(admin, job_id, "24 hours")
        others(admin, 9, "succeeded")
        meet(worker, job_id, "storage_unavailable")
        assert state_of(admin, job_id)[0] == "queued"

    def test_too_few_runs(self, admin: Connection, worker: Connection, job_id: UUID) -> None:
        meet(worker, job_id, "no_space", 3)
        pass_time(admin, job_id, "2 hours")
        others(admin, 50, "succeeded")
        meet(worker, job_id, "no_space")
        assert state_of(admin, job_id)[0] == "queued"

    def test_too_short_a_time(self, admin: Connection, worker: Connection, job_id: UUID) -> None:
        meet(worker, job_id, "no_space", 20)
        pass_time(admin, job_id, "29 minutes")
        others(admin, 50, "succeeded")
        meet(worker, job_id, "no_space")
        assert state_of(admin, job_id)[0] == "queued"

    def test_progress(self, admin: Connection, worker: Connection, job_id: UUID) -> None:
        """Each run meets a refusal, but has staged more than the run before."""
        meet(worker, job_id, "rate_limited", 9)
        pass_time(admin, job_id, "2 hours")
        others(admin, 50, "succeeded")
        run = claimed(worker, job_id)
        assert stage(worker, run, ["a part of it"])
        release(worker, run, "rate_limited")
        assert state_of(admin, job_id)[0] == "queued"

    def test_another_error_in_between(
        self, admin: Connection, worker: Connection, job_id: UUID
    ) -> None:
        meet(worker, job_id, "rate_limited", 4)
        meet(worker, job_id, "storage_unavailable")
        pass_time(admin, job_id, "2 hours")
        others(admin, 50, "succeeded")
        meet(worker, job_id, "rate_limited")
        assert state_of(admin, job_id)[0] == "queued"

    def test_a_worker_that_stops(self, admin: Connection, worker: Connection, job_id: UUID) -> None:
        for _ in range(20):
            release(worker, claimed(worker, job_id), None)
        pass_time(admin, job_id, "2 hours")
        others(admin, 50, "succeeded")
        release(worker, claimed(worker, job_id), None)
        assert state_of(admin, job_id)[0] == "queued"


def test_a_run_that_a_worker_gave_back_does_not_begin_it_anew(
    admin: Connection, worker: Connection, job_id: UUID
) -> None:
    meet(worker, job_id, "no_space", 4)
    release(worker, claimed(worker, job_id), None)
    pass_time(admin, job_id, "2 hours")
    others(admin, 50, "succeeded")
    meet(worker, job_id, "no_space")
    assert state_of(admin, job_id)[0] == "failed"


@dataclass(frozen=True)
class Past:
    """One earlier run: its outcome, its code, and how many minutes ago it began."""

    outcome: str
    code: str | None
    age: int


DEPENDENCIES = {
    "storage": {"storage_unavailable", "object_changed"},
    "provider": {"rate_limited", "provider_unavailable"},
}
ENDS = (
    ("released", "storage_unavailable"),
    ("released", "object_changed"),
    ("released", "rate_limited"),
    ("released", None),
    ("retried", "internal_error"),
    ("crashed", None),
)


def ought_to_fail(
    history: Sequence[Past], *, served: int, refused: int, staged: int | None
) -> bool:
    """The rule in Python, from docs/limits.md; the present run meets `object_changed`."""
    kin = DEPENDENCIES["storage"]
    ages = [0]
    for past in reversed(history):
        if (past.outcome, past.code) == ("released", None):
            continue
        if past.outcome != "released" or past.code not in kin:
            break
        ages.append(past.age)
    tries = served + refused
    return (
        len(ages) >= 5
        and max(ages) > 30
        and (staged is None or staged > max(ages))
        and tries >= 10
        and served * 10 >= tries * 9
    )


@dataclass(frozen=True)
class Case:
    """A job that meets `object_changed` once more, and the other runs."""

    history: Sequence[Past]
    served: int
    refused: int
    staged: int | None

    @property
    def ends(self) -> bool:
        """Whether the job must fail now."""
        return ought_to_fail(
            self.history, served=self.served, refused=self.refused, staged=self.staged
        )


def case(seed: int) -> Case:
    """A random case, mostly near the limits, where a wrong rule would show."""
    chance = random.Random(seed)
    ends = chance.choices(ENDS, weights=(60, 60, 2, 6, 1, 1), k=chance.randint(2, 9))
    minutes = range(2, 30) if chance.random() < 0.2 else range(31, 90)
    ages = sorted(chance.sample(minutes, len(ends)), reverse=True)
    return Case(
        [Past(end, code, age) for (end, code), age in zip(ends, ages, strict=True)],
        served=chance.choice((8, 9, 10, 18, 40, 40)),
        refused=chance.choice((0, 0, 0, 1, 2, 4, 5)),
        staged=chance.choice((None, None, None, None, 1, 95)),
    )


SEEDS = range(100)


def test_both_ends_are_among_the_histories() -> None:
    """Otherwise the test below could not fail."""
    assert 15 < sum(case(seed).ends for seed in SEEDS) < 85


@pytest.mark.parametrize("seed", SEEDS)
def test_the_rule_is_the_one_that_is_documented(
    admin: Connection, worker: Connection, job_id: UUID, seed: int
) -> None:
    given = case(seed)
    for past in given.history:
        admin.execute(
            """insert into ingest_private.attempts
                   (job_id, token, attempt, worker_id, isolated, started_at, finished_at,
                    outcome, error_code)
               values (%s, nextval('ingest_private.lease_token'), 1, 'w', false,
                       now() - make_interval(mins => %s), now() - make_interval(mins => %s),
                       %s, %s)""",
            [job_id, past.age, past.age - 1, past.outcome, past.code],
        )
    run = claimed(worker, job_id)
    if given.served:
        others(admin, given.served, "succeeded")
    if given.refused:
        others(admin, given.refused, "released", "storage_unavailable")
    if given.staged is not None:
        assert stage(worker, run, ["a part of it"])
        admin.execute(
            "update ingest_private.staged_chunks"
            "   set staged_at = now() - make_interval(mins => %s)",
            [given.staged],
        )
    release(worker, run, "object_changed")
    assert (state_of(admin, job_id)[0] == "failed") is given.ends


class TestProbes:
    """A lone job is judged by tries that a worker makes by itself."""

    def wanted(self, worker: Connection) -> list[tuple[str, str | None]]:
        found = rows(worker, "select * from ingest_private.probes_wanted()")
        return [(row["dependency"], row["object_name"]) for row in found]

    def wait(
        self, admin: Connection, worker: Connection, job_id: UUID, code: str, times: int
    ) -> None:
        for _ in range(times):
            run = claimed(worker, job_id)
            worker.execute(
                "select ingest_private.release_job(%s, %s, %s, null, '1 second')",
                [job_id, run.token, code],
            )
            admin.execute("update ingest_private.job_queue set due_at = now()")

    def test_none_is_wanted_while_all_is_well(
        self, admin: Connection, worker: Connection, job_id: UUID
    ) -> None:
        assert self.wanted(worker) == []
        self.wait(admin, worker, job_id, "provider_unavailable", 2)
        assert self.wanted(worker) == []

    def test_the_provider_is_tried_every_other_minute(
        self, admin: Connection, worker: Connection, job_id: UUID
    ) -> None:
        self.wait(admin, worker, job_id, "provider_unavailable", 3)
        assert self.wanted(worker) == [("provider", None)]
        worker.execute("select ingest_private.note_probe('provider', true)")
        assert self.wanted(worker) == []
        admin.execute("update ingest_private.probes set tried_at = tried_at - interval '3 minutes'")
        assert self.wanted(worker) == [("provider", None)]

    def test_storage_is_tried_with_an_object_that_was_read(
        self, admin: Connection, worker: Connection, job_id: UUID
    ) -> None:
        self.wait(admin, worker, job_id, "object_changed", 3)
        assert self.wanted(worker) == []
        run = claimed(worker, job_of(admin, put_object(admin, "read.txt")))
        admin.execute("select ingest_private.end_job(%s, 'succeeded')", [run.job_id])
        assert self.wanted(worker) == [("storage", "read.txt")]

    @pytest.mark.parametrize(("served", "state"), [(True, "failed"), (False, "queued")])
    def test_what_they_show_decides(
        self, admin: Connection, worker: Connection, job_id: UUID, served: bool, state: str
    ) -> None:
        meet(worker, job_id, "provider_unavailable", 4)
        pass_time(admin, job_id, "1 hour")
        for _ in range(10):
            worker.execute("select ingest_private.note_probe('provider', %s)", [served])
        meet(worker, job_id, "provider_unavailable")
        assert state_of(admin, job_id)[0] == state
