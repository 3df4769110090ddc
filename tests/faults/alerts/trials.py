"""Which trouble each alert is for, and the trial: does it fire, does it end, does it fire alone?"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.faults.alerts import troubles
from tests.faults.alerts.stand import Stand
from tests.faults.alerts.troubles import Meanwhile, every, nothing
from tests.support.installation import until
from tests.support.promql import Alert

#: What an alert, and its end, may take, in real seconds.
PATIENCE_SECONDS: Final = 200.0
#: How many scrapes a sound installation is looked at for: an hour.
SOUND_SCRAPES: Final = 120


@dataclass(frozen=True)
class Trouble:
    """What an alert is for, and which others may fire with it."""

    alert: str
    done: str
    make: Callable[[Stand], Iterator[Meanwhile]]
    also: frozenset[str] = frozenset()
    #: Labels that the alert has to have.
    about: Mapping[str, str] = field(default_factory=dict)

    def is_said_by(self, alert: Alert) -> bool:
        """Whether this alert is the one for it."""
        return alert.name == self.alert and self.about.items() <= set(alert.labels)


_SEEN: Final = frozenset({"DocmillTrouble"})

TROUBLES: Final = (
    Trouble(
        "DocmillTrouble",
        "killed the isolated worker",
        troubles.no_isolated_worker,
        about={"trouble": "no_isolated_worker"},
    ),
    Trouble("DocmillNoMetrics", "killed both workers", troubles.no_worker_at_all),
    Trouble(
        "DocmillDatabaseAway",
        "ended every session, and let nobody connect",
        troubles.database_away,
        _SEEN,
    ),
    Trouble(
        "DocmillOldJobs",
        "kept all slots busy, and put back the time of two jobs that waited by 31 minutes",
        troubles.more_work_than_slots,
    ),
    Trouble(
        "DocmillScheduleSilent",
        "killed beat, and put back the time of the last works by two minutes",
        troubles.beat_stopped,
        _SEEN,
        {"work": "rescue"},
    ),
    Trouble(
        "DocmillBreakerOpen",
        "had the provider refuse the key",
        troubles.key_refused,
        _SEEN,
        {"code": "provider_auth", "provider": "openai"},
    ),
    Trouble(
        "DocmillManyFailures", "uploaded empty files, and no others", troubles.most_documents_fail
    ),
    Trouble(
        "DocmillLeasesLost",
        "froze a worker with eight jobs until another one had taken them back",
        troubles.worker_frozen,
    ),
    Trouble(
        "DocmillExpiredLeases",
        "killed a worker with a job, and beat, so that nobody took it back",
        troubles.dead_worker_and_no_rescue,
        _SEEN,
    ),
    Trouble(
        "DocmillChildrenKilled",
        "killed the children of a dozen documents while they read",
        troubles.children_killed,
        frozenset({"DocmillManyFailures"}),
        {"code": "parse_memory"},
    ),
    Trouble(
        "DocmillOneOwner",
        "uploaded slow files of one owner while a child of another one stood still",
        troubles.one_owner_takes_the_children,
    ),
    Trouble(
        "DocmillRateLimited",
        "had the provider refuse every other request",
        troubles.provider_limits,
        about={"provider": "openai"},
    ),
    Trouble(
        "DocmillSpend",
        "gave tokens a price of a dollar each",
        troubles.dear_tokens,
        about={"provider": "openai"},
    ),
    Trouble(
        "DocmillEmptyBatches",
        "uploaded small files one after the other, with 2,048 texts in a full request",
        troubles.requests_of_one_text,
    ),
    Trouble(
        "DocmillWorkerMemory", "started a worker that holds 420 MB more", troubles.worker_grows
    ),
    Trouble(
        "DocmillEventsWait",
        "locked the table of documents during a thousand uploads",
        troubles.documents_locked,
        frozenset({"DocmillTrouble", "DocmillScheduleSilent"}),
    ),
    Trouble(
        "DocmillDrainBehind",
        "kept the rows of a thousand withdrawn documents locked",
        troubles.drain_held_up,
    ),
    Trouble("DocmillNoSpace", "filled the disk of the spool folder", troubles.disk_full),
)


@dataclass
class Fired:
    """How an alert fired and ended, in seconds of Prometheus' time."""

    alert: str
    done: str
    fired_after: float = 0.0
    ended_after: float = 0.0
    with_it: list[str] = field(default_factory=list)


def watch_sound(stand: Stand, scrapes: int) -> None:
    """Fail if anything fires while documents are ingested and nothing is wrong."""
    upload = every(4, stand.upload)
    for _ in range(scrapes):
        upload()
        firing = stand.watch.scrape()
        assert not firing, f"fires on a sound installation: {said(firing)}"


def try_alert(stand: Stand, trouble: Trouble) -> Fired:
    """Make a trouble, wait for its alert, mend it, wait for the end.

    Raises AssertionError if it does not fire or end, or if another one does that is not expected.
    """
    fired = Fired(trouble.alert, trouble.done)
    until(lambda: not stand.count("ingest_private.job_queue"), "no job under way", 120)
    seen: set[Alert] = set()
    start = stand.watch.time
    with contextmanager(trouble.make)(stand) as meanwhile:
        _scrape_until(stand, seen, lambda: any(map(trouble.is_said_by, seen)), meanwhile)
        fired.fired_after = stand.watch.time - start
    start = stand.watch.time
    _scrape_until(stand, seen, lambda: not stand.watch.alerts.active)
    fired.ended_after = stand.watch.time - start
    fired.with_it = sorted({alert.name for alert in seen} - {trouble.alert})
    unexpected = {alert for alert in seen if alert.name not in {trouble.alert, *trouble.also}}
    assert not unexpected, f"{trouble.alert}: fired too: {said(unexpected)}"
    return fired


def _scrape_until(
    stand: Stand, seen: set[Alert], is_over: Callable[[], bool], meanwhile: Meanwhile = nothing
) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        seen |= stand.watch.scrape()
        if is_over():
            return
        assert time.monotonic() < deadline, (
            f"not within {PATIENCE_SECONDS:.0f} s; active: {said(stand.watch.alerts.active)}, "
            f"fired: {said(seen)}\n{stand.installation.logs()[-3000:]}"
        )
        meanwhile()


def said(alerts: set[Alert]) -> str:
    """Alerts in words."""
    return ", ".join(sorted(map(str, alerts))) or "none"
