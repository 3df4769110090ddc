"""The simulation agrees with what queueing theory knows, and names what really binds."""

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.benchmarks.simulate.bounds import binding, bounds, doubled, workers_needed
from tests.benchmarks.simulate.calibrate import (
    Check,
    cores_of,
    demands_of,
    drain,
    fit_costs,
    refusal,
)
from tests.benchmarks.simulate.engine import Bucket, Engine, Job, OwnersInTurn, Pool, Processor
from tests.benchmarks.simulate.measure import Alone, Load, fit_log
from tests.benchmarks.simulate.model import (
    OFFICE_DAY,
    Arrival,
    Demands,
    Kind,
    Mix,
    Outcome,
    Plant,
    day,
    quantile,
    simulate,
)

CUSTOMERS = 40_000
DEMANDS = Demands(
    kinds={"txt": Kind(read_page=0.005, chunks_page=2.0)},
    read_document=0.03,
    worker_document=0.015,
    worker_chunk=0.001,
    postgres_upload=0.003,
    postgres_document=0.01,
    postgres_chunk=0.003,
    receiver_document=0.002,
    around_document=0.01,
    around_chunk=0.0005,
    tokens_chunk=200.0,
)
MIX = Mix({"txt": 1.0}, {"txt": (1, 2, 4, 8)})
PLENTY = Plant(cores=64, database_cores=64, children=256, slots=1000, connections=200, requests=64)


# -- the parts, against closed forms


def waits(
    servers: int, load: float, service: Callable[[random.Random], float]
) -> tuple[float, float]:
    """Mean wait before service, and the mean number who wait; service takes 1 s on average."""
    engine, chance = Engine(), random.Random(7)
    pool = Pool(engine, servers)
    found: list[float] = []

    def customer() -> Job:
        came = engine.now
        yield pool.acquire()
        found.append(engine.now - came)
        yield engine.sleep(service(chance))
        pool.release()

    at = 0.0
    for _ in range(CUSTOMERS):
        at += chance.expovariate(load * servers)
        engine.at(at, lambda: engine.start(customer()))
    engine.run()
    assert len(found) == CUSTOMERS
    return sum(found) / len(found), pool.queue.area() / engine.now


def erlang_c(servers: int, load: float) -> float:
    """Mean wait of M/M/c with a mean service of 1."""
    offered = load * servers
    terms = [offered**k / math.factorial(k) for k in range(servers + 1)]
    last = terms[-1] / (1 - load)
    return last / (sum(terms[:-1]) + last) / (servers * (1 - load))


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (1, 0.7), (2, 0.7), (8, 0.8)])
def test_waits_for_exponential_service_are_those_of_erlang(servers: int, load: float) -> None:
    wait, queue = waits(servers, load, lambda chance: chance.expovariate(1))
    assert wait == pytest.approx(erlang_c(servers, load), rel=0.08)
    assert queue == pytest.approx(load * servers * wait, rel=0.03)  # Little's law


def test_waits_for_constant_service_are_half_as_long() -> None:
    """Pollaczek and Khinchine: M/D/1 waits load / (2 (1 - load))."""
    wait, _ = waits(1, 0.7, lambda chance: 1.0)
    assert wait == pytest.approx(0.7 / (2 * 0.3), rel=0.08)


@pytest.mark.parametrize("constant", [True, False])
def test_a_shared_core_takes_as_long_whatever_the_service_looks_like(*, constant: bool) -> None:
    """Processor sharing: 1 / (1 - load) on average, for exponential and for constant demands."""
    engine, chance = Engine(), random.Random(3)
    core = Processor(engine, 1)
    took: list[float] = []

    def customer() -> Job:
        came = engine.now
        yield core.use(1.0 if constant else chance.expovariate(1))
        took.append(engine.now - came)

    at = 0.0
    for _ in range(CUSTOMERS):
        at += chance.expovariate(0.7)
        engine.at(at, lambda: engine.start(customer()))
    engine.run()
    assert sum(took) / len(took) == pytest.approx(1 / 0.3, rel=0.08)


def test_nobody_has_more_than_a_core_and_all_have_no_more_than_there_is() -> None:
    engine = Engine()
    cores = Processor(engine, 2)
    ends: list[float] = []

    def customer(seconds: float) -> Job:
        yield cores.use(seconds)
        ends.append(engine.now)

    for seconds in (1, 1, 1, 4):
        engine.start(customer(seconds))
    engine.run()
    # Half a core each until the three are done at 2; then three more seconds on one core.
    assert ends == pytest.approx([2, 2, 2, 5])
    assert cores.used() == pytest.approx(7)


def test_shares_go_by_weight_and_what_is_left_goes_to_others() -> None:
    engine = Engine()
    ends: dict[str, float] = {}

    def customer(cores: Processor, name: str, seconds: float, weight: float) -> Job:
        yield cores.use(seconds, weight)
        ends[name] = engine.now

    one, two = Processor(engine, 1), Processor(engine, 1.5)
    engine.start(customer(one, "light", 2.0, 0.5))
    engine.start(customer(one, "heavy", 2.0, 1.0))
    engine.start(customer(two, "no more than a core", 2.0, 4.0))
    engine.start(customer(two, "what is left", 2.0, 1.0))
    engine.run()
    # Two thirds and a third of a core until 3; then the light one has it alone.
    assert ends["heavy"] == pytest.approx(3)
    assert ends["light"] == pytest.approx(4)
    # A core, and half of one until 2; then the other has a whole one.
    assert ends["no more than a core"] == pytest.approx(2)
    assert ends["what is left"] == pytest.approx(3)


def test_a_bucket_gives_what_was_saved_and_then_its_rate() -> None:
    engine = Engine()
    bucket = Bucket(engine, 10, burst_seconds=5)
    got: list[float] = []

    def customer() -> Job:
        yield bucket.take(25)
        got.append(engine.now)

    for _ in range(4):
        engine.start(customer())
    engine.run()
    assert got == pytest.approx([0, 0, 2.5, 5])


def test_owners_take_turns() -> None:
    line, order = OwnersInTurn(), list[str]()
    for owner, name in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1")):
        line.push(owner, lambda name=name: order.append(name))  # type: ignore[misc]
    while resume := line.pop():
        resume()
    assert order == ["a1", "b1", "c1", "a2", "a3"]


# -- the pipeline


def day_of(documents: int, plant: Plant) -> Outcome:
    return simulate(plant, DEMANDS, day(documents, MIX, random.Random(5), hours=range(9, 12)))


@pytest.mark.parametrize(
    "plant",
    [
        Plant(cores=2),
        Plant(cores=2, slots=3, latency=2.0),
        Plant(cores=1, workers=3, batch=4, requests=1),
        Plant(cores=2, tokens_a_minute=300_000, requests_a_minute=60, burst_seconds=10),
        Plant(cores=2, together=True, connections=2, children=2),
    ],
)
def test_every_document_leaves_once_and_little_is_right(plant: Plant) -> None:
    found = day_of(3000, plant)
    assert found.arrived == found.ended == len(found.sojourns) == len(found.waits)
    mean = sum(found.sojourns) / found.ended
    assert found.in_system == pytest.approx(found.ended / found.seconds * mean, rel=1e-6)
    assert all(0 <= share <= 1 + 1e-9 for share in found.used.values())
    assert sum(found.waits) <= sum(found.sojourns)


def test_the_same_seed_gives_the_same_day() -> None:
    assert day_of(1000, Plant(cores=2)) == day_of(1000, Plant(cores=2))


def test_work_that_is_done_is_the_work_that_was_asked_for() -> None:
    arrivals = [Arrival(number * 0.2, "txt", 2) for number in range(200)]
    found = simulate(PLENTY, DEMANDS, arrivals)
    chunks = 4
    postgres = 200 * (0.003 + 0.01 + chunks * 0.003)
    used = found.used["cores of PostgreSQL"] * found.seconds * PLENTY.database_cores
    assert used == pytest.approx(postgres)


def test_a_document_alone_takes_the_sum_of_its_parts() -> None:
    found = simulate(Plant(cores=2), DEMANDS, [Arrival(0, "txt", 1)])
    parts = 0.002 + 0.003 + 0.03 + 0.005 + 0.015 + 2 * 0.001 + 0.2 + 0.01 + 2 * 0.003
    assert found.sojourns == [pytest.approx(parts)]
    assert found.waits == [pytest.approx(0.005)]


#: Installations in which one thing is scarce, and what that is.
SCARCE = {
    "cores of workers": replace(PLENTY, cores=0.5),
    "cores of PostgreSQL": replace(PLENTY, database_cores=0.25),
    "tokens a minute": replace(PLENTY, tokens_a_minute=60_000, burst_seconds=10),
    "requests a minute": replace(PLENTY, requests_a_minute=20, batch=16, burst_seconds=5),
    "requests in flight": replace(PLENTY, requests=1, batch=16, latency=2.0),
    "children": replace(PLENTY, children=1),
    "connections": replace(PLENTY, connections=1),
    "slots": replace(PLENTY, slots=4, latency=1.0),
}


@pytest.mark.parametrize("scarce", SCARCE)
def test_what_binds_is_what_makes_it_faster_when_doubled(scarce: str) -> None:
    documents = [("txt", pages) for pages in (1, 2, 4, 8)] * 100
    plant = replace(SCARCE[scarce], uploaded=True)
    arrivals = [Arrival(0, kind, pages) for kind, pages in documents]

    def rate(plant: Plant) -> float:
        return simulate(plant, DEMANDS, arrivals).rate

    found = bounds(plant, DEMANDS, documents)
    assert binding(found) == scarce
    before = rate(plant)
    assert before <= found[scarce].rate * 1.1  # a bucket may be full when it begins
    assert rate(doubled(plant, scarce)) > 1.3 * before
    # Workers alone would double these two, and everything else with them.
    for other in set(found) - {scarce, "the worker's process", "scans, one at a time"}:
        assert rate(doubled(plant, other)) < 1.15 * before, other


def test_one_process_of_a_worker_is_at_most_one_core() -> None:
    plant = replace(PLENTY, uploaded=True)
    demands = replace(DEMANDS, worker_document=0.2)
    documents = [("txt", 1)] * 200
    assert binding(bounds(plant, demands, documents)) == "the worker's process"
    arrivals = [Arrival(0, "txt", 1)] * 200
    before = simulate(plant, demands, arrivals).rate
    assert before == pytest.approx(1 / 0.202, rel=0.05)
    assert simulate(replace(plant, workers=2), demands, arrivals).rate > 1.8 * before


def test_scans_are_read_one_at_a_time() -> None:
    demands = replace(
        DEMANDS, kinds={"txt": Kind(0.005, 2.0), "scan": Kind(5.0, 2.0, one_at_a_time=True)}
    )
    documents = [("scan", 1)] * 5 + [("txt", 1)] * 95
    plant = replace(PLENTY, uploaded=True)
    assert binding(bounds(plant, demands, documents)) == "scans, one at a time"
    arrivals = [Arrival(0, kind, pages) for kind, pages in documents]
    assert simulate(plant, demands, arrivals).makespan == pytest.approx(25.5, rel=0.05)
    assert simulate(replace(plant, workers=5), demands, arrivals).makespan < 12


def test_texts_of_many_documents_share_requests() -> None:
    plant = Plant(cores=8, uploaded=True)
    found = simulate(plant, DEMANDS, [Arrival(0, "txt", 1)] * 512)
    assert found.requests == 512 * 2 / 256


def test_a_document_alone_waits_for_nobody() -> None:
    found = simulate(Plant(cores=2), DEMANDS, [Arrival(at, "txt", 1) for at in (0, 10, 20)])
    assert found.requests == 3
    assert max(found.sojourns) < 1


def test_an_index_makes_rows_dearer_the_larger_it_is() -> None:
    demands = replace(DEMANDS, hnsw=(0.001, 0.0002))
    costs = [demands.postgres_of_chunk(rows) for rows in (0, 1000, 1_000_000)]
    assert costs == pytest.approx([0.003, 0.003 + 0.0023816, 0.003 + 0.0037631], rel=1e-4)


def test_enough_workers_are_not_used_more_than_that() -> None:
    documents = [("txt", 2)]
    needed = workers_needed(Plant(cores=2), DEMANDS, documents, 100.0, at_most=0.7)

    def used(workers: int) -> float:
        found = bounds(replace(Plant(cores=2), workers=workers), DEMANDS, documents)
        return max(100.0 / found[name].rate for name in ("cores of workers", "connections"))

    assert used(needed) <= 0.7 < used(needed - 1)


# -- days


def test_a_day_has_its_documents_in_its_hours() -> None:
    assert len(OFFICE_DAY) == 24
    assert sum(OFFICE_DAY) == pytest.approx(1)
    arrivals = day(100_000, MIX, random.Random(2), hours=range(8, 12))
    assert len(arrivals) == pytest.approx(100_000 * sum(OFFICE_DAY[8:12]), rel=0.05)
    third = sum(2 * 3600 <= arrival.at < 3 * 3600 for arrival in arrivals)
    assert third == pytest.approx(100_000 * OFFICE_DAY[10], rel=0.1)


def test_quantiles() -> None:
    assert quantile(range(100), 0.95) == 95
    assert quantile([], 0.5) == 0


# -- calibration


def test_costs_are_found_from_totals() -> None:
    rows = [(100, 100, 5), (80, 640, 3), (50, 200, 90)]
    costs = (2.0, 3.0, 0.5)
    totals = [sum(a * b for a, b in zip(row, costs, strict=True)) for row in rows]
    assert fit_costs(rows, totals) == pytest.approx(costs)


def test_no_cost_is_negative() -> None:
    amounts = ((100, 100), (80, 640))
    for totals, nought in (((1.0, 100.0), 0), ((100.0, 1.0), 1)):
        found = fit_costs(amounts, totals)
        assert found[nought] == 0
        assert found[1 - nought] > 0


def load(files: int, pages: int, cores: float) -> Load:
    """What a machine of some cores would measure if the model were true."""
    made = tuple(("txt", pages) for _ in range(files))
    chunks = files * 2 * pages
    cpu = {
        "reading": files * (0.03 + 0.005 * pages),
        "worker": files * 0.015 + chunks * 0.001,
        "PostgreSQL": files * 0.01 + chunks * 0.003,
        "around": files * 0.01 + chunks * 0.0005,
        "receiver": 0.0,
    }
    uploads = {"PostgreSQL": files * 0.003, "receiver": files * 0.002}
    rate = drain(Plant(cores=cores), DEMANDS, made)
    early = {"worker": 0.4 * cpu["worker"], "PostgreSQL": 0.7 * cpu["PostgreSQL"]}
    return Load(made, files / rate, chunks, {"txt": chunks}, chunks * 200, 9, cpu, uploads, early)


def test_what_was_measured_comes_back_as_demands() -> None:
    # The reader alone takes half of what it takes in a child: the proportion is found.
    loads = [load(50, 1, 2), load(40, 6, 2), load(30, 3, 2)]
    found = demands_of(load(20, 1, 2), loads, {"txt": Alone(1e-6, 0.0025)}, (0.0, 0.0))
    truth = replace(DEMANDS, worker_early=0.4, postgres_early=0.7)
    for name, value in vars(truth).items():
        if name != "kinds":
            assert getattr(found, name) == pytest.approx(value), name
    assert found.kinds["txt"].read_page == pytest.approx(0.005)
    assert found.kinds["txt"].chunks_page == pytest.approx(2)


@pytest.mark.parametrize("cores", [0.7, 2.0])
def test_the_cores_that_a_load_had_are_found(cores: float) -> None:
    assert cores_of(load(50, 3, cores), Plant(cores=1), DEMANDS) == pytest.approx(cores, rel=0.02)


def test_a_logarithm_is_fitted() -> None:
    assert fit_log([(n, 2 + 3 * math.log(n), 0.0) for n in (10, 100, 5000)]) == pytest.approx(
        (2, 3)
    )


@pytest.mark.parametrize(("predicted", "refused"), [(12.4, False), (12.6, True), (7.4, True)])
def test_nothing_is_predicted_by_a_model_that_is_off(predicted: float, refused: bool) -> None:
    checks = [
        Check(name, rate, 10, 2, 1.5, "slots")
        for name, rate in (("near", 10), ("this one", predicted))
    ]
    said = refusal(checks, 0.25)
    assert (said is not None) == refused
    assert said is None or "this one" in said


def test_nothing_is_predicted_without_a_measurement() -> None:
    assert refusal([], 0.25)
