"""One limit for all workers, in a real Redis."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry

from docmill.embedded.redis import RedisServer, start_redis
from docmill.worker.clients.shared_limits import REINDEX, UPLOADS, SharedLimits
from docmill.worker.ports import Outcome, Permit

MakeLimits = Callable[..., SharedLimits]


def client_of(server: RedisServer) -> "redis.Redis":
    return redis.Redis.from_url(
        server.url, socket_timeout=5, socket_connect_timeout=5, retry=Retry(NoBackoff(), 0)
    )


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = start_redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def make(own_redis: RedisServer) -> Iterator[MakeLimits]:
    client = client_of(own_redis)
    client.flushall()

    def limits(worker: str = "one", priority: int = UPLOADS) -> SharedLimits:
        return SharedLimits(
            client, "openai model", worker=worker, priority=priority, longest_request_seconds=60
        )

    yield limits
    client.close()


def headers(limit: float, remaining: float, reset: str = "") -> dict[str, str]:
    return {
        "x-ratelimit-limit-tokens": str(limit),
        "x-ratelimit-remaining-tokens": str(remaining),
        "x-ratelimit-reset-tokens": reset,
    }


def permit(limits: SharedLimits, tokens: int) -> Permit:
    found = limits.ask(tokens)
    assert isinstance(found, Permit), found
    return found


def wait_of(limits: SharedLimits, tokens: int) -> float:
    found = limits.ask(tokens)
    assert isinstance(found, float), found
    return found


def eventually(limits: SharedLimits, tokens: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while isinstance(limits.ask(tokens), float):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def learn(limits: SharedLimits, limit: float, remaining: float) -> None:
    limits.settle(permit(limits, 1), Outcome(headers=headers(limit, remaining)))


def test_nothing_is_limited_before_the_provider_says_so(make: MakeLimits) -> None:
    limits = make()
    first = permit(limits, 10**6)
    # The first answer may tell the limit.
    assert wait_of(limits, 10**6) <= 0.1
    limits.settle(first, Outcome(billed=10**6))
    assert [permit(limits, 10**6).tokens for _ in range(20)] == [10**6] * 20
    assert limits.most_tokens() is None


def test_a_first_request_that_hangs_holds_up_nobody_for_long(make: MakeLimits) -> None:
    limits = make()
    permit(limits, 10)
    wait_of(limits, 10)
    eventually(limits, 10)
    permit(limits, 10)


def test_workers_share_what_the_provider_says_is_left(make: MakeLimits) -> None:
    one, two = make("one"), make("two")
    learn(one, 60_000, 1000)
    permit(two, 600)
    wait_of(one, 20_000)
    eventually(one, 600)  # 1,000 per second become available


def test_what_may_be_used_at_once_is_less_than_the_limit_of_a_minute(make: MakeLimits) -> None:
    limits = make()
    told = headers(60_000, 1000, "1s")  # full within a second: 2,000
    limits.settle(permit(limits, 1), Outcome(headers=told))
    limits.ask(1)
    assert limits.most_tokens() == 1800
    eventually(limits, 1800)


def test_a_refusal_leaves_more_unused_for_a_while(make: MakeLimits) -> None:
    limits = make()
    learn(limits, 600, 600)
    for _ in range(3):
        told = headers(600, 500)
        limits.settle(permit(limits, 10), Outcome(headers=told, refused=True, pause_seconds=0))
    wait_of(limits, 450)
    permit(limits, 300)


def test_a_request_is_no_larger_than_a_small_limit_allows(make: MakeLimits) -> None:
    limits = make()
    learn(limits, 6000, 6000)
    limits.ask(1)
    assert limits.most_tokens() == 1000
    learn(limits, 60, 60)
    permit(limits, 10**6)  # no limit would ever allow this much


def test_the_first_who_waits_goes_first_and_uploads_before_reindexing(make: MakeLimits) -> None:
    reindex, upload, later = make("a", REINDEX), make("b", UPLOADS), make("c", UPLOADS)
    learn(upload, 60_000, 0)
    wanted = {"reindex": (reindex, 2000), "upload": (upload, 2000), "later": (later, 1)}
    for limits, tokens in wanted.values():
        wait_of(limits, tokens)
    order = []
    while wanted:
        for name, (limits, tokens) in list(wanted.items()):
            if isinstance(limits.ask(tokens), Permit):
                order.append(name)
                del wanted[name]
        time.sleep(0.02)
    assert order == ["upload", "later", "reindex"]


def test_who_leaves_or_falls_silent_holds_up_nobody(make: MakeLimits) -> None:
    gone, left, here = make("gone"), make("left"), make("here")
    learn(here, 60_000, 0)
    wait_of(left, 5000)
    left.leave()
    wait_of(gone, 5000)
    wait_of(here, 100)
    eventually(here, 100)


def test_a_refusal_stops_all_for_as_long_as_is_asked(make: MakeLimits) -> None:
    one, two = make("one"), make("two")
    one.settle(permit(one, 10), Outcome(refused=True, pause_seconds=3))
    assert 2 < wait_of(two, 10) <= 3
    eventually(two, 10)


def test_what_was_not_sent_comes_back(make: MakeLimits) -> None:
    limits = make()
    learn(limits, 60_000, 1000)
    limits.settle(permit(limits, 900), None)
    permit(limits, 900)


def test_others_who_use_the_same_key_are_noticed(make: MakeLimits) -> None:
    limits = make()
    learn(limits, 60_000, 60_000)
    limits.settle(permit(limits, 100), Outcome(headers=headers(60_000, 500)))
    wait_of(limits, 20_000)


def test_an_answer_says_nothing_of_what_was_permitted_after_it(make: MakeLimits) -> None:
    limits = make()
    learn(limits, 600, 500)
    first, second = permit(limits, 250), permit(limits, 200)
    # 250 were available for the first one; the second is not included yet.
    limits.settle(second, Outcome(headers=headers(600, 50)))
    limits.settle(first, Outcome(headers=headers(600, 250)))
    wait_of(limits, 150)


def test_tokens_are_reckoned_as_the_provider_counts_them(make: MakeLimits) -> None:
    limits = make()
    learn(limits, 600_000, 600_000)
    for _ in range(40):
        limits.settle(permit(limits, 100), Outcome(billed=200))
    wait_of_most = limits.most_tokens()
    assert wait_of_most is not None
    assert 45_000 < wait_of_most < 60_000


def test_a_bill_beyond_reason_is_not_waited_for(make: MakeLimits) -> None:
    limits = make()
    learn(limits, 60_000, 60_000)
    limits.settle(permit(limits, 100), Outcome(billed=100_000_000))
    permit(limits, 1000)


def test_a_limit_by_the_day_fills_up_in_a_day(make: MakeLimits) -> None:
    limits = make()
    limits.settle(permit(limits, 1), Outcome(headers=headers(1000, 0, "24h0m0s")))
    assert 864 < wait_of(limits, 10) < 2 * 864  # ten tokens, and what it owes
    time.sleep(1.0)
    wait_of(limits, 10)


def test_redis_that_lost_everything_gives_nothing_away(
    make: MakeLimits, own_redis: RedisServer
) -> None:
    limits = make()
    learn(limits, 60_000, 60_000)
    permit(limits, 100)
    client_of(own_redis).flushall()
    wait_of(limits, 20_000)


TEXTS = st.one_of(
    st.sampled_from(
        ["", "-1", "0", "0.0001", "nan", "inf", "-inf", "1e308", "1e5", "9" * 400, "1", "60000",
         "6m0s", "20ms", "-5s", "1s1s1s", "٣", "0x10", "12;13", " 7 ", "1_000"]
    ),
    st.text(max_size=20),
)  # fmt: skip
NAMES = [
    f"x-ratelimit-{kind}-{what}"
    for kind in ("limit", "remaining", "reset")
    for what in ("requests", "tokens")
]


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    said=st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(NAMES), TEXTS),
            st.one_of(st.none(), st.integers(-(10**20), 10**20)),
            st.booleans(),
        ),
        max_size=5,
    )
)
def test_nothing_that_a_provider_says_breaks_it(
    make: MakeLimits, said: list[tuple[dict[str, str], int | None, bool]]
) -> None:
    limits = make()
    for told, billed, refused in said:
        found = limits.ask(100)
        if isinstance(found, Permit):
            outcome = Outcome(billed, told, 0.1, refused, 0.0 if refused else None)
            limits.settle(found, outcome)
        else:
            assert 0 < found <= 2 * 86_400  # a whole limit of a day is owed, and one is wanted
    most = limits.most_tokens()
    assert most is None or most >= 1
    assert not limits.is_alone


def test_many_at_once_never_take_more_than_there_is(make: MakeLimits) -> None:
    learn(make(), 600_000, 10_000)
    began = time.monotonic()
    taken: list[int] = []

    def work(number: int) -> None:
        limits = make(f"worker {number}")
        while time.monotonic() - began < 2:
            found = limits.ask(300)
            if isinstance(found, Permit):
                taken.append(found.tokens)
            else:
                time.sleep(min(found, 0.05))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    there_was = 10_000 + 10_000 * (time.monotonic() - began)
    assert 0.5 * there_was < sum(taken) <= there_was


def test_without_redis_a_worker_keeps_to_its_share(tmp_path: Path) -> None:
    server = start_redis(tmp_path)
    client = client_of(server)
    now = [100.0]
    one, two = (
        SharedLimits(
            client,
            "openai model",
            worker=worker,
            priority=UPLOADS,
            longest_request_seconds=60,
            clock=lambda: now[0],
        )
        for worker in ("one", "two")
    )
    try:
        learn(one, 60_000, 60_000)
        permit(two, 1)
        permit(one, 1)
    finally:
        server.stop()
    # Half of a thousand tokens per second, starting from zero.
    wait_of(one, 5000)
    assert one.is_alone
    now[0] += 9.9
    wait_of(one, 5000)
    now[0] += 0.2
    permit(one, 5000)
    wait_of(one, 1000)
    # A refusal is obeyed, and also the remaining amount that the provider reports.
    now[0] += 60
    refused = Outcome(headers=headers(60_000, 100), refused=True, pause_seconds=7)
    one.settle(permit(one, 10), refused)
    now[0] += 6.9
    wait_of(one, 10)
    now[0] += 0.2
    permit(one, 10)
