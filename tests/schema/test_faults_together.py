"""Faults at once: what status, doctor and explain say is judged by an account of the rows.

The account knows the sentences of the promise and the rows, and asks no function of docmill. All
combinations are drawn from one seed; DOCMILL_STRESS_SEED draws others.
"""

import os
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from docmill.worker.admin.status import list_troubles
from tests.schema.actors import Connection, claimed, heartbeat, job_of, rows, value
from tests.support.agreement import disagreements
from tests.support.database import Database, put_object, watch_bucket

SEED: Final = int(os.environ.get("DOCMILL_STRESS_SEED", "1"))
ROUNDS: Final = int(os.environ.get("DOCMILL_COMBINATIONS", "150"))

#: The provider of the index version in the test's database, and another one.
OWN, OTHER = "local", "openai"
#: The period of dispatches in the test; the next is late after three of them and 15 s.
PERIOD: Final = timedelta(seconds=5)
LATE: Final = 3 * PERIOD + timedelta(seconds=15)

WORKS: Final = ("dispatch", "rescue", "reconcile", "schedules")

#: For each part the states it may be in. The first is the sound one.
PARTS: Final = {
    "workers": ("run", "away", "stop", "lack the key", "vanished"),
    "isolated worker": ("runs", "away", "stops", "lacks the key", "vanished"),
    "schedule": ("ticks", "silent", "never ticked"),
    "receiver": ("ticks", "silent", "stopped"),
    "breaker": ("closed", "of the provider", "of Storage", "overdue"),
    "pause": ("none", "everything", "owner", "another owner"),
    "job": (
        "ready", "ready for long", "dispatched", "hint lost", "hint lost for long", "retried later",
        "retried long ago", "held", "held until long ago", "isolated", "running", "vanished",
    ),
}  # fmt: skip


def drawn(chance: random.Random) -> dict[str, str]:
    """About half of the parts are sound."""
    return {
        part: states[0] if chance.random() < 0.45 else chance.choice(states)
        for part, states in PARTS.items()
    }


def bring_about(admin: Connection, worker: Connection, job_id: UUID, state: dict[str, str]) -> None:
    """Put the rows into this state, as the parts would leave them."""
    heartbeat(worker, "w1", slots=4, providers=[OWN, OTHER])
    bring_job(admin, worker, job_id, state["job"])
    admin.execute("delete from ingest_private.workers")
    for kind, name in (("workers", "w1"), ("isolated worker", "alone")):
        chosen = state[kind]
        if chosen != "away":
            heartbeat(
                worker,
                name,
                slots=4,
                isolated=name == "alone",
                draining=chosen.startswith("stop"),
                providers=[OTHER] if chosen.startswith("lack") else [OWN, OTHER],
            )
        if chosen == "vanished":
            admin.execute(
                "update ingest_private.workers set expires_at = now() - interval '1 s'"
                " where id = %s",
                [name],
            )
    for work in WORKS:
        tick(admin, work, state["schedule"])
    tick(admin, "receiver", state["receiver"])
    if state["breaker"] != "closed":
        of_storage = state["breaker"] == "of Storage"
        broken = ("storage_auth", "") if of_storage else ("provider_auth", OWN)
        admin.execute(
            """insert into ingest_private.breakers (error_code, provider, opened_at, open_until)
               values (%s, %s, now() - interval '1 h', now() + %s::interval)""",
            [
                *broken,
                "-50 min" if state["breaker"] == "overdue" else "5 min",
            ],
        )
    scope, key = {
        "none": ("", ""),
        "everything": ("everything", ""),
        "owner": ("owner", "alice"),
        "another owner": ("owner", "bob"),
    }[state["pause"]]
    if scope:
        admin.execute("insert into ingest_private.pauses values (%s, %s)", [scope, key])


def tick(admin: Connection, work: str, state: str) -> None:
    if state in ("ticks", "silent"):
        ago = timedelta(seconds=1) if state == "ticks" else LATE + timedelta(seconds=5)
        admin.execute(
            """insert into ingest_private.ticks (work, ticked_at, usual_gap)
               values (%s, now() - %s, %s)""",
            [work, ago, PERIOD],
        )


def bring_job(admin: Connection, worker: Connection, job_id: UUID, state: str) -> None:
    def queue(columns: str) -> None:
        admin.execute(
            f"update ingest_private.job_queue set {columns} where job_id = %s".encode(), [job_id]
        )

    if state == "ready for long":
        queue("aged_at = now() - interval '1 h'")
    elif state in ("dispatched", "hint lost", "hint lost for long"):
        ago = {"dispatched": "+25 s", "hint lost": "-1 s", "hint lost for long": "-1 h"}[state]
        queue(f"phase = 'dispatched', due_at = now() + interval '{ago}'")
    elif state in ("retried later", "retried long ago", "held", "held until long ago"):
        until = "-1 h" if "ago" in state else "+5 min"
        reason, code = (
            ("rate_limited", "provider_unavailable")
            if state.startswith("held")
            else (None, "internal_error")
        )
        queue(f"phase = 'waiting', due_at = now() + interval '{until}'")
        admin.execute(
            """update ingest.jobs set hold_reason = %s, error_code = %s,
                      next_attempt_at = now() + %s::interval where id = %s""",
            [reason, code, until, job_id],
        )
    elif state == "isolated":
        queue("isolated = true")
    elif state in ("running", "vanished"):
        claimed(worker, job_id)
        if state == "vanished":
            admin.execute("update ingest_private.leases set expires_at = now() - interval '1 h'")


@dataclass
class Account:
    """What is true, computed from the rows alone."""

    now: datetime
    workers: list[dict[str, Any]]
    ticks: dict[str, datetime]
    pauses: set[tuple[str, str]]
    breakers: list[dict[str, Any]]
    lease_ends: datetime | None
    job: dict[str, Any]
    entry: dict[str, Any]

    @classmethod
    def of(cls, admin: Connection, job_id: UUID) -> "Account":
        now: datetime = value(admin, "select clock_timestamp()")
        leases = rows(admin, "select expires_at from ingest_private.leases")
        return cls(
            now,
            [
                worker
                for worker in rows(admin, "select * from ingest_private.workers")
                if worker["expires_at"] > now
            ],
            {
                row["work"]: row["ticked_at"]
                for row in rows(admin, "select * from ingest_private.ticks")
            },
            {
                (row["scope"], row["key"])
                for row in rows(admin, "select * from ingest_private.pauses")
            },
            rows(admin, "select * from ingest_private.breakers"),
            leases[0]["expires_at"] if leases else None,
            rows(admin, "select * from ingest.jobs where id = %s", job_id)[0],
            rows(admin, "select * from ingest_private.job_queue where job_id = %s", job_id)[0],
        )

    def alive(self, *, isolated: bool) -> list[dict[str, Any]]:
        return [worker for worker in self.workers if worker["isolated"] == isolated]

    def serving(self, *, isolated: bool) -> list[dict[str, Any]]:
        return [w for w in self.alive(isolated=isolated) if OWN in w["providers"]]

    def able(self) -> list[dict[str, Any]]:
        """Workers that would take a hint for this job."""
        return [
            worker
            for worker in self.serving(isolated=self.entry["isolated"])
            if not worker["draining"]
        ]

    def is_silent(self, work: str) -> bool:
        return work in self.ticks and self.now - self.ticks[work] > LATE

    def patience(self) -> timedelta:
        """How long anything that the next dispatch would do may take."""
        return LATE if "dispatch" in self.ticks else timedelta(minutes=15, seconds=15)

    @property
    def is_queued(self) -> bool:
        return bool(self.job["state"] == "queued")

    @property
    def is_paused(self) -> bool:
        return bool(self.pauses & {("everything", ""), ("owner", "alice")})

    @property
    def stands_still(self) -> bool:
        """It is ready, a worker has room for it, and nothing starts it."""
        return bool(
            self.is_queued
            and self.entry["phase"] == "ready"
            and self.now - self.entry["aged_at"] > self.patience()
            and self.able()
            and not self.breakers
            and ("everything", "") not in self.pauses
        )

    def troubles(self) -> set[str]:
        """What an operator has to know."""
        ordinary = self.alive(isolated=False)
        has_vanished = (
            self.lease_ends is not None and self.now - self.lease_ends > self.rescue_patience()
        )
        waits_alone = self.entry["isolated"]
        true = {
            "no_worker": not ordinary,
            "no_isolated_worker": not self.alive(isolated=True),
            "schedule_silent": ordinary and any(map(self.is_silent, WORKS)),
            "receiver_silent": self.is_silent("receiver"),
            "jobs_stand_still": self.stands_still,
            "leases_not_ended": has_vanished,
            "provider_not_served": (ordinary and not self.serving(isolated=False))
            or (waits_alone and self.alive(isolated=True) and not self.serving(isolated=True)),
            "breaker_open": self.breakers,
            "paused": self.pauses,
        }
        return {trouble for trouble, holds in true.items() if holds}

    def rescue_patience(self) -> timedelta:
        return LATE if "rescue" in self.ticks else timedelta(minutes=15, seconds=15)

    def contradictions(self, said: dict[str, Any]) -> list[str]:
        """What of an explanation is not true, or hides that nothing happens."""
        sentence, able = said["explanation"], self.able()
        isolated = self.entry["isolated"]
        is_silent = self.is_silent("dispatch")
        hint_may_come = self.entry["phase"] == "dispatched" and self.entry["due_at"] > self.now
        true = {
            "No worker is running": not self.alive(isolated=False),
            "no worker for such jobs is running": isolated and not self.alive(isolated=True),
            "has the key": self.alive(isolated=isolated) and not self.serving(isolated=isolated),
            "is stopping": self.serving(isolated=isolated) and not able,
            "has not been heard of since": is_silent,
            "Workers have room": self.stands_still,
            "is about to begin": able and (hint_may_come or not is_silent),
            "before it": able and not is_silent and not self.stands_still,
            "paused": self.is_paused,
            "within a minute": not self.is_silent("rescue")
            and self.alive(isolated=False)
            and self.alive(isolated=True),
            "All jobs that need this": self.breakers,
        }
        found = [f"says {what!r}" for what, is_so in true.items() if what in sentence and not is_so]
        promised = said["next_attempt_at"]
        if promised is not None and " UTC" in sentence and "heard" not in sentence:
            is_overdue = self.now - promised > self.patience()
            if is_overdue and (is_silent or not able):
                found.append(f"promises {promised}, which has passed")
        return found


def judge(admin: Connection, job_id: UUID) -> list[str]:
    """Each contradiction, as a sentence."""
    account = Account.of(admin, job_id)
    told = {row["trouble"] for row in list_troubles(admin)}
    expected = account.troubles()
    (said,) = rows(admin, "select * from ingest_private.explain_job(%s)", job_id)
    found = [f"{trouble} is not told" for trouble in expected - told]
    found += [f"{trouble} is told, and is not so" for trouble in told - expected]
    return found + account.contradictions(said) + disagreements(admin)


def test_whatever_fails_together_is_told_as_it_is(
    wiped: Database, admin: Connection, worker: Connection
) -> None:
    watch_bucket(wiped)
    job_id = job_of(admin, put_object(admin, "a.txt", owner="alice"))
    chance = random.Random(SEED)
    wrong: dict[str, list[str]] = {}
    seen: set[str] = set()
    for _ in range(ROUNDS):
        state = drawn(chance)
        # One connection, so that all of it can be taken back.
        with admin.transaction(force_rollback=True):
            bring_about(admin, admin, job_id, state)
            found = judge(admin, job_id)
            seen |= {row["trouble"] for row in list_troubles(admin)}
        if found:
            wrong[str(state)] = found
    assert wrong == {}, f"{len(wrong)} of {ROUNDS}"
    assert len(seen) == 9, "each trouble was brought about"
