"""How long the limits of a provider let a corpus be embedded."""

import pytest

from docmill.cli.pace import paced
from docmill.worker.clients.shared_limits import KnownLimits


@pytest.mark.parametrize(
    ("limits", "minutes", "said"),
    [
        (KnownLimits(None, None), None, "unknown limit"),
        (KnownLimits(None, 100_000), 10, "100000 tokens a minute"),
        (KnownLimits(10, None), 20, "10 requests a minute"),
        # The tighter one decides.
        (KnownLimits(10, 100_000), 20, "10 requests a minute and 100000 tokens a minute"),
        (KnownLimits(1000, 100_000), 10, "1000 requests a minute and 100000 tokens a minute"),
        # The provider counts twice as many tokens as docmill.
        (KnownLimits(None, 100_000, scale=2.0), 20, "20 min at least"),
    ],
)
def test_the_tightest_limit_says_how_long_it_takes(
    limits: KnownLimits, minutes: int | None, said: str
) -> None:
    pace = paced(limits, requests=200, tokens=1_000_000)
    assert pace.minutes == minutes
    assert said in pace.said


def test_nothing_takes_no_time() -> None:
    assert paced(KnownLimits(10, 10), requests=0, tokens=0).minutes == 0
