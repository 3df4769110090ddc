"""An owner's documents, with any content, stall neither a worker nor another owner."""

from tests.faults.stack import Stack
from tests.support.installation import ALICE, BOB

#: A megabyte of one letter; it once kept each thread of the worker busy for ten seconds.
HAN = "\u7684" * 333_333
FILES = 20


def test_a_pile_of_odd_text_delays_neither_heartbeats_nor_another_owner(stack: Stack) -> None:
    """Judged by the order of events, and by leases of three seconds: none was lost."""
    installation = stack.installation
    with stack.holding("download"):
        odd = [
            installation.upload(BOB, stack.fresh_name("pile"), f"{number}\n\n{HAN}")
            for number in range(FILES)
        ]
        stack.wait_for("download", 2)
    own = installation.upload(ALICE, stack.fresh_name("line"), "One line.")
    stack.succeed(own, *odd, timeout=100)
    (before,) = installation.rows(
        """select count(*) from ingest.jobs as other, ingest.jobs as own
            where own.object_name = %s and other.object_name = any(%s)
              and other.finished_at < own.finished_at""",
        *(own, odd),
    )
    assert before["count"] < FILES // 2
    runs = installation.rows(
        """select attempt.outcome from ingest_private.attempts as attempt
             join ingest.jobs as job on job.id = attempt.job_id
            where job.object_name = any(%s)""",
        [own, *odd],
    )
    assert [run["outcome"] for run in runs] == ["succeeded"] * (FILES + 1)
