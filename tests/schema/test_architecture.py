"""The states of a job in ARCHITECTURE.md are those in the SQL.

Two independent judges: one reads the functions of a database, the other takes every step and notes
which function took it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final
from uuid import UUID

import pytest

from docmill.embedded.postgres import PostgresServer
from tests.schema.actors import (
    Connection,
    Run,
    claim,
    claimed,
    job_of,
    jobs_for,
    new_version,
    publish,
    rows,
    stage,
    value,
)
from tests.schema.test_state_machine import (
    cancel,
    expire_leases,
    fail,
    publish_unchanged,
    release,
    rescue,
)
from tests.support.architecture import PAGE, Step, diagram, drawn_steps
from tests.support.database import (
    Database,
    as_client,
    delete_objects,
    make_database,
    put_object,
    watch_bucket,
)
from tests.support.pages import ROOT

#: Code that talks to the database, and so calls functions from outside.
CALLERS: Final = ("worker", "tasks", "embedded", "docmill/cli")
_CALL: Final = re.compile(r"\b(ingest(?:_private)?\.\w+)\s*\(")
_WRITE: Final = re.compile(r"\b(insert into|update) ingest\.jobs\b([^;]*)", re.IGNORECASE)
_SET: Final = re.compile(r"\bset\b(.*?)(?:\b(?:where|from|returning)\b|$)", re.DOTALL)


@pytest.fixture(scope="module")
def project(postgres: PostgresServer) -> Iterator[Database]:
    """This module's own project: it gets a trigger that no other project has."""
    with make_database(postgres) as made:
        watch_bucket(made)
        yield made


# The first judge: the source of the functions.


def innermost_out(text: str) -> str:
    """A statement without the text in parentheses, that is, mainly without subqueries."""
    while (flat := re.sub(r"\([^()]*\)", " ", text)) != text:
        text = flat
    return text


def writes_state(body: str) -> bool:
    """Whether a function itself makes a job or changes a job's state."""
    for verb, statement in _WRITE.findall(body):
        if verb.lower() == "insert into":
            return True
        assigned = _SET.search(innermost_out(statement))
        if assigned and re.search(r"\bstate\s*=", assigned[1]):
            return True
    return False


def functions_of(connection: Connection) -> dict[str, str]:
    """Every function of docmill, and its body without comments."""
    found = rows(
        connection,
        """select format('%s.%s', pronamespace::regnamespace, proname) as name, prosrc
             from pg_proc
            where pronamespace::regnamespace::text like 'ingest%'""",
    )
    return {row["name"]: re.sub(r"--.*", "", row["prosrc"]) for row in found}


def called_from_outside() -> set[str]:
    """Functions that docmill's own code calls."""
    files = [file for folder in CALLERS for file in (ROOT / folder).rglob("*.py")]
    return {name for file in files for name in _CALL.findall(file.read_text())}


def entries(functions: Mapping[str, str], called: set[str]) -> set[str]:
    """Names of the functions that may change a state and are called from outside."""
    calls = {name: set(_CALL.findall(body)) & set(functions) for name, body in functions.items()}
    changing = {name for name, body in functions.items() if writes_state(body)}
    while more := {name for name in calls if calls[name] & changing} - changing:
        changing |= more
    inner = {name for caller in calls for name in calls[caller]}
    return {name.partition(".")[2] for name in changing - (inner - called)}


@pytest.fixture(scope="module")
def entered(project: Database) -> set[str]:
    with project.connect() as connection:
        return entries(functions_of(connection), called_from_outside())


# The second judge: the steps that really happen.

NOTE_STEPS: Final = """
    create table public.steps (before text, stack text, after text);
    create function public.note_step() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
    declare
        v_stack text;
    begin
        get diagnostics v_stack = pg_context;
        insert into public.steps
        values (case tg_op when 'UPDATE' then old.state else '[*]' end, v_stack, new.state);
        return null;
    end
    $$;
    create trigger note_insert after insert on ingest.jobs
        for each row execute function public.note_step();
    create trigger note_update after update of state on ingest.jobs
        for each row when (old.state is distinct from new.state)
        execute function public.note_step();
"""
_FRAME: Final = re.compile(r"function ingest(?:_private)?\.(\w+)\(")


def outermost(stack: str) -> str:
    """The function of docmill that was called first."""
    frames = _FRAME.findall(stack)
    assert frames, f"not by a function of docmill: {stack}"
    return str(frames[-1])


@contextmanager
def unheard(admin: Connection) -> Iterator[None]:
    """While this is open, Storage changes without triggers."""
    admin.execute("set session_replication_role = replica")
    try:
        yield
    finally:
        admin.execute("reset session_replication_role")


def drain(admin: Connection, object_id: UUID, _name: str) -> None:
    admin.execute(
        "insert into ingest_private.pending_events (object_id, reason) values (%s, 'test')",
        [object_id],
    )
    admin.execute("select ingest_private.drain_pending_events()")


def backfill(admin: Connection, _object_id: UUID, _name: str) -> None:
    admin.execute(
        "select ingest_private.backfill_source(id, null) from ingest_private.sources "
        "where prefix = ''"
    )


def sync(admin: Connection, object_id: UUID, name: str) -> None:
    admin.execute("select ingest_private.sync_object(%s, 'docs', %s)", [object_id, name])


def reconcile(admin: Connection, _object_id: UUID, _name: str) -> None:
    admin.execute("select ingest_private.reconcile(null, null)")


#: The sweeps that later find a change without a trigger, for one object and its name.
def sync_together(admin: Connection, object_id: UUID, name: str) -> None:
    admin.execute("select ingest_private.sync_hints(%s, %s, %s)", [[object_id], ["docs"], [name]])


SWEEPS: Final[Mapping[str, Callable[[Connection, UUID, str], None]]] = {
    "sync_object": sync,
    "sync_hints": sync_together,
    "drain_pending_events": drain,
    "reconcile": reconcile,
    "backfill_source": backfill,
}


def find_out_later(admin: Connection, sweep: str) -> None:
    """An upload, and overwrites of it while its job waits and while it runs."""
    name, find = f"{sweep}.txt", SWEEPS[sweep]
    for is_running in (False, False, True):
        with unheard(admin):
            object_id = put_object(admin, name)
        if is_running:
            claimed(admin, job_of(admin, object_id))
        find(admin, object_id, name)


def tell_at_once(admin: Connection) -> None:
    """The same with triggers, and deletes."""
    put_object(admin, "told.txt")
    claimed(admin, job_of(admin, put_object(admin, "told.txt")))
    put_object(admin, "told.txt")
    delete_objects(admin, ["told.txt"])
    claimed(admin, job_of(admin, put_object(admin, "told.txt")))
    delete_objects(admin, ["told.txt"])


def remove_source(admin: Connection) -> None:
    """Its documents move to the source of the whole bucket, which finds other owners."""
    for folder in ("waits", "runs"):
        source = value(
            admin,
            """insert into ingest_private.sources (bucket_id, prefix, owner_from)
               values ('docs', %s, 'folder:1') returning id""",
            f"{folder}/",
        )
        job_id = job_of(admin, put_object(admin, f"{folder}/a.txt", owner="alice"))
        if folder == "runs":
            claimed(admin, job_id)
        admin.execute("select ingest_private.remove_source(%s, false, null)", [source])


def lose_document(admin: Connection) -> None:
    object_id = put_object(admin, "lost.txt")
    job_id = job_of(admin, object_id)
    admin.execute("delete from ingest.documents where object_id = %s", [object_id])
    assert claim(admin, job_id) is None


def withdraw_in_use(project: Database, admin: Connection) -> None:
    """Its job is locked, so the drain ends it, whether it waits or runs."""
    for name in ("waits", "runs"):
        job_id = job_of(admin, put_object(admin, f"{name}.txt"))
        if name == "runs":
            claimed(admin, job_id)
        with project.connect() as holder, holder.transaction():
            holder.execute("select from ingest.jobs where id = %s for update", [job_id])
            delete_objects(admin, [f"{name}.txt"])
        admin.execute("select ingest_private.drain_withdrawn()")


def start(admin: Connection, name: str, **options: object) -> Run:
    """A run of a new document."""
    return claimed(admin, job_of(admin, put_object(admin, name, owner="alice")), **options)


def succeed(admin: Connection) -> None:
    run = start(admin, "read.txt")
    stage(admin, run, ["one"])
    assert publish(admin, run, ["one"]) == "published"
    assert publish_unchanged(admin, start(admin, "read.txt")) == "published"


def publish_while_held(admin: Connection) -> None:
    """Publish while another index version is made active."""
    succeed(admin)
    runs = [start(admin, "held.txt"), start(admin, "read.txt")]
    admin.execute("select ingest_private.begin_activating('30 s')")
    assert publish(admin, runs[0], []) == "lost"
    assert publish_unchanged(admin, runs[1]) == "lost"
    admin.execute("select ingest_private.end_activating()")


def fail_and_release(admin: Connection) -> None:
    run = start(admin, "failing.txt")
    assert fail(admin, run)
    run = claimed(admin, run.job_id)
    assert release(admin, run)
    assert fail(admin, claimed(admin, run.job_id), "corrupt", None)
    end_hopeless(admin)


def end_hopeless(admin: Connection) -> None:
    """Give a job back until its error counts as lasting."""
    run = start(admin, "hopeless.txt")
    for _ in range(4):
        assert release(admin, run)
        run = claimed(admin, run.job_id)
    admin.execute("update ingest_private.attempts set started_at = now() - interval '1 hour'")
    for _ in range(10):
        admin.execute("select ingest_private.note_probe('provider', true)")
    assert release(admin, run)


def vanish(admin: Connection, _run: Run) -> None:
    """The worker stops renewing, and its lease expires."""
    expire_leases(admin)
    assert rescue(admin) == 1


def die(admin: Connection) -> None:
    """First beside others, then alone, until the job fails."""
    run = start(admin, "deadly.txt")
    for _ in range(2):
        vanish(admin, run)
        claimed(admin, run.job_id, isolated=True)
    vanish(admin, run)


def read_again(admin: Connection) -> None:
    """Read a searchable document again."""
    succeed(admin)
    made = value(
        admin, """select job_ids from ingest_private.read_again('{"bucket": "docs"}', 1)"""
    )
    assert len(made) == 1


def reindex(admin: Connection) -> None:
    """Two more versions: filled by publishing and by the schedule, activated, dropped, ended."""
    others = [new_version(admin, p_model=f"other {number}") for number in range(2)]
    succeed(admin)
    assert publish_unchanged(admin, start(admin, "read.txt")) == "published"
    admin.execute("delete from ingest.jobs where kind = 'reindex' and state = 'queued'")
    assert value(admin, "select ingest_private.fill_index_versions(9)") > 0
    start(admin, "runs while the version changes.txt")
    put_object(admin, "waits while the version changes.txt")
    assert value(admin, "select ingest_private.activate_index_version(%s, true)", others[0])
    for name in ("one more.txt", "another.txt"):
        assert publish(admin, start(admin, name), []) == "published"
    first, *_ = [job["id"] for job in jobs_for(admin, others[1]) if job["state"] == "queued"]
    claimed(admin, first)
    come_too_late(admin, former=others[1])
    admin.execute("select ingest_private.retire_for_good(%s)", [others[1]])
    first, *_ = [job["id"] for job in jobs_for(admin, 1) if job["state"] == "queued"]
    claimed(admin, first)
    admin.execute(
        "update ingest.jobs set index_version = 1 where id = %s",
        [job_of(admin, put_object(admin, "later than all.txt"))],
    )
    admin.execute("update ingest.index_versions set drop_at = now() where id = 1")
    value(admin, "select ingest_private.end_due_versions()")


def come_too_late(admin: Connection, *, former: int) -> None:
    """Uploads that saw this version as the active one: the last of them waits there."""
    move = "update ingest.jobs set index_version = %s where id = %s"
    admin.execute(move, [former, start(admin, "late and running.txt").job_id])
    admin.execute(move, [former, job_of(admin, put_object(admin, "late.txt"))])
    value(admin, "select ingest_private.fill_index_versions(0)")
    claimed_late = job_of(admin, put_object(admin, "claimed late.txt"))
    admin.execute(move, [former, claimed_late])
    assert claim(admin, claimed_late) is None
    admin.execute(move, [former, job_of(admin, put_object(admin, "never claimed.txt"))])


def erase(admin: Connection) -> None:
    """An owner with one waiting document and one in work."""
    put_object(admin, "e1.txt", owner="eve")
    claimed(admin, job_of(admin, put_object(admin, "e2.txt", owner="eve")))
    admin.execute("select ingest_private.erase_owner('eve')")


def ask_to_cancel(project: Database, admin: Connection) -> None:
    """By an operator and by the owner, while a job waits and while it runs."""
    request = "select ingest_private.request_cancel(%s)"
    assert value(admin, request, job_of(admin, put_object(admin, "c1.txt"))) == "cancelled"
    job_id = job_of(admin, put_object(admin, "c2.txt", owner="alice"))
    with as_client(project, {"sub": "alice"}) as client:
        assert value(client, "select ingest.cancel_job(%s)", job_id) == "cancelled"
    with as_client(project, {"sub": "alice"}) as client:
        assert value(client, "select ingest.retry_job(%s)", job_id) != job_id
    failed = start(admin, "again.txt")
    assert fail(admin, failed, "corrupt", None)
    assert value(admin, "select ingest_private.retry_failed('{corrupt}', 1)")
    ends: tuple[Callable[[Connection, Run], object], ...] = (
        cancel,
        fail,
        release,
        vanish,
    )
    for number, end in enumerate(ends):
        run = start(admin, f"run{number}.txt")
        assert value(admin, request, run.job_id) == "running"
        end(admin, run)


@pytest.fixture(scope="module")
def taken(project: Database) -> set[Step]:
    """Every step that a job can take, each taken at least once."""
    with project.connect() as admin:
        admin.execute(NOTE_STEPS)
        tell_at_once(admin)
        for sweep in SWEEPS:
            find_out_later(admin, sweep)
        for act in (
            *(remove_source, lose_document, succeed, publish_while_held, fail_and_release, die),
            *(read_again, reindex, erase),
        ):
            act(admin)
        withdraw_in_use(project, admin)
        ask_to_cancel(project, admin)
        return {
            Step(row["before"], outermost(row["stack"]), row["after"])
            for row in rows(admin, "select * from public.steps")
        }


# Compare both with the drawing, and with wrong drawings.


def drawing() -> str:
    return diagram(PAGE.read_text())


def test_the_functions_of_the_diagram_are_those_that_change_a_state(entered: set[str]) -> None:
    assert {step.function for step in drawn_steps(drawing())} == entered


def test_the_steps_of_the_diagram_are_those_that_jobs_take(taken: set[Step]) -> None:
    assert sorted(drawn_steps(drawing())) == sorted(taken)


def test_the_judges_know_the_same_functions(entered: set[str], taken: set[Step]) -> None:
    assert {step.function for step in taken} == entered


def without(number: int, text: str) -> str:
    """The drawing without one arrow."""
    arrows = [line for line in text.splitlines(keepends=True) if "-->" in line]
    return text.replace(arrows[number], "")


def shortened(number: int, text: str) -> str:
    """The drawing with one name less in a label."""
    step = sorted(drawn_steps(text))[number]
    rest = drawn_steps(text) - {step}
    return "".join(f"{one.before} --> {one.after}: {one.function}\n" for one in rest)


STEPS: Final = len(drawn_steps(drawing()))
ARROWS: Final = drawing().count("-->")
WRONG: Final[Mapping[str, Callable[[str], str]]] = {
    **{f"without arrow {n}": partial(without, n) for n in range(ARROWS)},
    **{f"without step {n}": partial(shortened, n) for n in range(STEPS)},
    "an arrow too many": lambda text: text + "    queued --> failed: fail_job\n",
    "an arrow out of a final state": lambda text: text + "    failed --> queued: retry_job\n",
    "a name too many": lambda text: re.sub(r"(queued --> running: .*)", r"\1, renew_leases", text),
    "another name": lambda text: text.replace("claim_job", "take_ready_jobs"),
    "an inner name": lambda text: text.replace("cancel_run", "end_cancelled"),
    "an arrow turned round": lambda text: text.replace("queued --> running", "running --> queued"),
}


@pytest.mark.parametrize("change", WRONG)
def test_a_wrong_diagram_is_noticed(change: str, taken: set[Step]) -> None:
    changed = WRONG[change](drawing())
    assert changed != drawing()
    try:
        steps = drawn_steps(changed)
    except AssertionError:
        return
    assert steps != taken


@pytest.mark.parametrize("function", sorted({step.function for step in drawn_steps(drawing())}))
def test_a_function_that_the_diagram_lacks_is_noticed(function: str, entered: set[str]) -> None:
    left = {step for step in drawn_steps(drawing()) if step.function != function}
    assert {step.function for step in left} != entered


def test_a_function_that_comes_to_change_a_state_is_noticed(
    project: Database, entered: set[str]
) -> None:
    """Directly, or through other functions."""
    with project.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(
            """create function ingest_private.new_way(p_job_id uuid) returns void language sql as
               'update ingest.jobs set updated_at = now(), state = ''queued'' where id = p_job_id';
               create function ingest_private.new_entry(p_job_id uuid) returns void
               language plpgsql as
               'begin perform ingest_private.new_way(p_job_id); end'"""
        )
        found = entries(functions_of(connection), called_from_outside())
    assert found == entered | {"new_entry"}


def test_a_function_that_only_reads_the_state_is_no_entry() -> None:
    assert not writes_state("update ingest.jobs set stage = 'x' where id = p and state = 'queued'")
    assert not writes_state("update ingest.jobs set stage = (select max(state) from ingest.jobs)")
    assert writes_state("update ingest.jobs as job set stage = 'x', state = 'queued' where true")
