"""The clients in examples/, run like by a reader, on the embedded stack."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from docmill.embedded.postgres import binaries
from docmill.embedded.process import ChildProcess, start_child
from docmill.embedded.stack import ALICE, BOB, StackInfo
from docmill.worker.embedding.local import LocalEmbedder
from tests.support.installation import until
from tests.support.javascript import deno_environ, deno_path
from tests.support.realtime import FakeRealtime
from tests.support.slow import SLOW_MARKDOWN

EXAMPLES = Path(__file__).parents[2] / "examples"
BUNDLE = next((EXAMPLES / "console" / "vendor").glob("supabase-*.js"))
QUESTION = "When is the kiln fired?"
KILN = (
    "# Rules of the pottery\n\n## Firing\n\nThe kiln is fired every Thursday. "
    "Pots are to be on the shelf by noon of the day before.\n\n"
    "## Cleaning\n\nWhoever comes last wipes the wheels and sweeps the floor.\n"
)


@dataclass
class Runner:
    """One language, and the command that starts its example."""

    command: list[str]
    environ: dict[str, str]
    folder: Path

    def run(self, file: Path, question: str = QUESTION) -> "subprocess.CompletedProcess[str]":
        """Run it to its end."""
        return subprocess.run(
            [*self.command, str(file), question],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def start(self, file: Path) -> ChildProcess:
        """Start it; its output is in its log."""
        return start_child(
            "example",
            [*self.command, str(file), QUESTION],
            log_path=self.folder / "example.log",
            environ=self.environ,
        )


def settings(stack: StackInfo, url: str | None = None) -> dict[str, str]:
    """The environment variables of the examples."""
    return {
        "SUPABASE_URL": url or stack.api_url,
        "SUPABASE_KEY": stack.keys.publishable_key,
        "EMAIL": "alice@example.com",
        "PASSWORD": stack.keys.demo_password,
    }


def javascript(folder: Path, environ: dict[str, str]) -> Runner:
    """supabase-js from the console's copy, because there is no network."""
    shim = folder / "supabase.mjs"
    shim.write_text(
        f"const text = Deno.readTextFileSync({json.dumps(str(BUNDLE))});\n"
        "export const { createClient } = new Function(`${text}; return supabase`)();\n"
    )
    imports = folder / "imports.json"
    imports.write_text(json.dumps({"imports": {"@supabase/supabase-js": shim.as_uri()}}))
    return Runner(
        [
            *(deno_path(), "run", "--quiet", "--no-lock", "--no-remote", "--no-npm"),
            *("--import-map", str(imports), "--allow-net=127.0.0.1", "--allow-env", "--allow-read"),
            str(EXAMPLES / "javascript" / "main.mjs"),
        ],
        dict(deno_environ(folder, **environ)),
        folder,
    )


def node(folder: Path, environ: dict[str, str]) -> Runner:
    """A fresh project of Node, which takes `.js` for CommonJS, with copies of the examples.

    There is no network, so supabase-js is the console's copy, and `ws` is a stand-in that never
    connects. Before version 22 Node has no WebSocket, but supabase-js needs one.
    """
    program = shutil.which("node")
    if program is None:
        pytest.skip("no Node here: apt-get install nodejs")
    (folder / "package.json").write_text('{ "private": true }')
    for name in ("docmill.mjs", "realtime.mjs", "main.mjs"):
        shutil.copy(EXAMPLES / "javascript" / name, folder)
    shim = (
        f"const text = require('node:fs').readFileSync({json.dumps(str(BUNDLE))}, 'utf8');\n"
        "exports.createClient = new Function(`${text}; return supabase`)().createClient;\n"
    )
    for package, code in {
        "@supabase/supabase-js": shim,
        "ws": "module.exports = class WebSocket { close() {} };\n",
    }.items():
        (folder / "node_modules" / package).mkdir(parents=True)
        (folder / "node_modules" / package / "index.js").write_text(code)
    return Runner(
        [program, str(folder / "main.mjs")], {"PATH": os.environ["PATH"], **environ}, folder
    )


def python(folder: Path, environ: dict[str, str]) -> Runner:
    return Runner(
        [sys.executable, str(EXAMPLES / "python" / "main.py")],
        {"PATH": os.environ["PATH"], **environ},
        folder,
    )


@pytest.fixture(params=[javascript, python])
def runner(request: pytest.FixtureRequest, stack: StackInfo, tmp_path: Path) -> Runner:
    made: Runner = request.param(tmp_path, settings(stack))
    return made


@pytest.fixture
def kiln(tmp_path: Path) -> Path:
    path = tmp_path / "kiln.md"
    path.write_text(KILN)
    return path


def job_of(stack: StackInfo, name: str) -> dict[str, Any] | None:
    """The newest job of one of Alice's documents."""
    url = stack.database_url("postgres")
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        return connection.execute(
            "select job.* from ingest.jobs as job join ingest.documents as document"
            " on document.latest_job_id = job.id where document.object_name = %s",
            [f"{ALICE}/{name}"],
        ).fetchone()


def test_a_file_is_uploaded_followed_and_found(runner: Runner, kiln: Path) -> None:
    for _ in ("new", "replaced"):
        done = runner.run(kiln)
        assert done.returncode == 0, done.stderr
        shown, _blank, hits = done.stdout.partition("\n\n")
        assert shown.splitlines()[-1] == "succeeded"
        assert "The kiln is fired every Thursday." in hits
        first = hits.splitlines()[0]
        assert 0 < float(first.split()[0]) <= 1
        assert "Firing" in hits


def test_copied_into_a_fresh_project_of_node_it_runs(
    stack: StackInfo, tmp_path: Path, kiln: Path
) -> None:
    done = node(tmp_path, settings(stack)).run(kiln)
    assert done.returncode == 0, done.stderr
    assert "fired every Thursday" in done.stdout


def test_a_failure_is_told_with_its_remedy(runner: Runner, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    done = runner.run(empty)
    assert done.returncode == 0, done.stderr
    assert "empty_document: The file holds no text. Upload a file with text" in done.stdout


def test_what_happens_meanwhile_is_shown(runner: Runner, stack: StackInfo, tmp_path: Path) -> None:
    # A Markdown parser needs minutes for it.
    slow = tmp_path / "slow.md"
    slow.write_text(SLOW_MARKDOWN)
    child = runner.start(slow)
    try:
        until(lambda: "extracting" in child.log_path.read_text(), "the stage", timeout=180)
        cancel(stack, "slow.md")
        until(lambda: "cancelled" in child.log_path.read_text(), "the end", timeout=180)
        child.process.wait(180)
    finally:
        child.stop()


REQUESTS_JS = """
import process from "node:process";
import { createClient } from "@supabase/supabase-js";
import { cancel, documents, follow, retry, upload } from "EXAMPLES/javascript/docmill.mjs";

const { SUPABASE_URL, SUPABASE_KEY, EMAIL, PASSWORD } = process.env;
const client = createClient(SUPABASE_URL, SUPABASE_KEY);
const { data } = await client.auth.signInWithPassword({ email: EMAIL, password: PASSWORD });
const uploaded = await upload(
  client, "documents", `${data.user.id}/requests.md`, new Blob(["[a](([a]((".repeat(10_000)]));
for (const _ of ["once", "twice"]) {
  let last;
  for await (const job of follow(client, uploaded)) {
    if (job.state === "running" && !job.cancel_requested) console.log(await cancel(client, job));
    last = job;
  }
  console.log(last.state);
  if (_ === "once") console.log(await retry(client, last) !== last.id);
}
const found = (await documents(client)).find((d) => d.object_name === uploaded.object_name);
console.log(found.status, found.searchable);
try {
  const nowhere = { ...uploaded, object_name: "nowhere" };
  for await (const _ of follow(client, nowhere, 100));
} catch (error) {
  console.log(error.message);
}
await client.auth.signOut();
"""
REQUESTS_PY = """
import os, sys
sys.path.insert(0, "EXAMPLES/python")
from docmill import cancel, documents, follow, retry, upload
from supabase import create_client

client = create_client(os.environ["SUPABASE_URL"], os.environ["SUPABASE_KEY"])
session = client.auth.sign_in_with_password(
    {"email": os.environ["EMAIL"], "password": os.environ["PASSWORD"]})
name = f"{session.user.id}/requests.md"
uploaded = upload(client, "documents", name, b"[a](([a]((" * 10_000)
for which in ("once", "twice"):
    for job in follow(client, uploaded):
        if job["state"] == "running" and not job["cancel_requested"]:
            print(cancel(client, job))
    print(job["state"])
    if which == "once":
        print(str(retry(client, job) != job["id"]).lower())
found = next(d for d in documents(client) if d["object_name"] == name)
print(found["status"], str(found["searchable"]).lower())
try:
    list(follow(client, {**uploaded, "object_name": "nowhere"}, 0.1))
except TimeoutError as error:
    print(error)
client.auth.sign_out()
"""


@pytest.mark.parametrize(
    ("make", "program"), [(javascript, REQUESTS_JS), (python, REQUESTS_PY)], ids=["js", "py"]
)
def test_a_job_can_be_cancelled_and_retried(
    make: Any, program: str, stack: StackInfo, tmp_path: Path
) -> None:
    runner = make(tmp_path, settings(stack))
    script = tmp_path / f"requests{Path(runner.command[-1]).suffix}"
    script.write_text(program.replace("EXAMPLES", str(EXAMPLES)))
    runner.command[-1] = str(script)
    done = runner.run(Path())
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *("running", "cancelled", "true", "running", "cancelled"),
        "failed false",
        "no job was made: is the bucket a source (docmill sources list)?",
    ]


def cancel(stack: StackInfo, name: str) -> None:
    job = job_of(stack, name)
    assert job is not None
    with psycopg.connect(stack.database_url("postgres"), autocommit=True) as connection:
        connection.execute("select ingest_private.request_cancel(%s)", [job["id"]])


def test_a_wrong_password_ends_it(stack: StackInfo, kiln: Path, tmp_path: Path) -> None:
    for make in (javascript, python):
        done = make(tmp_path, {**settings(stack), "PASSWORD": "guess"}).run(kiln)
        assert done.returncode != 0
        assert "Invalid login credentials" in done.stderr


# -- Realtime


@pytest.fixture
def realtime(stack: StackInfo) -> Iterator[FakeRealtime]:
    with FakeRealtime(stack).running() as made:
        yield made


def live(folder: Path, stack: StackInfo, realtime: FakeRealtime | None) -> Runner:
    url = realtime.url if realtime else None
    return javascript(folder, {**settings(stack, url), "LIVE": "1"})


def test_events_take_the_place_of_polling(
    stack: StackInfo, realtime: FakeRealtime, tmp_path: Path
) -> None:
    slow = tmp_path / "live.md"
    slow.write_text(SLOW_MARKDOWN)
    child = live(tmp_path, stack, realtime).start(slow)
    try:
        until(lambda: "subscribed" in realtime.log, "a subscription", timeout=180)
        until(lambda: "asked" in after(realtime.log, "subscribed"), "a reading", timeout=180)
        until(lambda: "extracting" in child.log_path.read_text(), "the stage", timeout=180)
        # From now on whoever reads waits: only an event can bring the end.
        realtime.reading.clear()
        cancel(stack, "live.md")
        until(lambda: "cancelled" in child.log_path.read_text(), "the end", timeout=180)
        realtime.reading.set()
        child.process.wait(180)
        assert realtime.log[-1] == "left"
    finally:
        realtime.reading.set()
        child.stop()


def test_what_ended_before_events_began_is_read_when_they_begin(
    stack: StackInfo, realtime: FakeRealtime, tmp_path: Path
) -> None:
    slow = tmp_path / "early.md"
    slow.write_text(SLOW_MARKDOWN)
    realtime.gate.clear()
    child = live(tmp_path, stack, realtime).start(slow)
    try:
        until(lambda: "joined" in realtime.log, "the client", timeout=180)
        until(lambda: "extracting" in child.log_path.read_text(), "the stage", timeout=180)
        realtime.reading.clear()
        cancel(stack, "early.md")

        def ended() -> bool:
            job = job_of(stack, "early.md")
            return job is not None and job["state"] == "cancelled"

        def is_over(job: dict[str, Any]) -> bool:
            return (job["object_name"], job["state"]) == (f"{ALICE}/early.md", "cancelled")

        until(ended, "the job", timeout=180)
        # Its event is over before anybody subscribes.
        until(lambda: any(map(is_over, realtime.passed)), "the event", timeout=180)
        realtime.gate.set()
        until(lambda: "asked" in after(realtime.log, "subscribed"), "a reading", timeout=4)
        realtime.reading.set()
        until(lambda: "cancelled" in child.log_path.read_text(), "the end", timeout=180)
        assert "sent" not in realtime.log
        child.process.wait(180)
    finally:
        realtime.gate.set()
        realtime.reading.set()
        child.stop()


def after(log: list[str], event: str) -> list[str]:
    return log[log.index(event) + 1 :] if event in log else []


def test_without_events_the_end_is_noticed_all_the_same(
    stack: StackInfo, realtime: FakeRealtime, tmp_path: Path
) -> None:
    """If Realtime sends nothing, and if there is no Realtime."""
    realtime.mute = True
    children = []
    try:
        for name, server in (("mute", realtime), ("absent", None)):
            folder = tmp_path / name
            folder.mkdir()
            file = folder / f"{name}.md"
            file.write_text(f"{KILN}{name}")
            children.append(live(folder, stack, server).start(file))
        for child in children:
            assert child.process.wait(180) == 0, child.log_path.read_text()
            assert "succeeded" in child.log_path.read_text()
            assert "The kiln is fired every Thursday." in child.log_path.read_text()
    finally:
        for child in children:
            child.stop()
    assert "sent" not in realtime.log


def test_another_user_is_sent_nothing(
    stack: StackInfo, realtime: FakeRealtime, kiln: Path, tmp_path: Path
) -> None:
    """Bob subscribes to all jobs. The policy of ingest.jobs hides Alice's."""
    listener = tmp_path / "listen.js"
    listener.write_text(
        """
        import { createClient } from "@supabase/supabase-js";
        const { SUPABASE_URL, SUPABASE_KEY, EMAIL, PASSWORD } = process.env;
        const client = createClient(SUPABASE_URL, SUPABASE_KEY);
        await client.auth.signInWithPassword({ email: EMAIL, password: PASSWORD });
        client.channel("all")
          .on("postgres_changes", { event: "*", schema: "ingest", table: "jobs" },
              (change) => console.log("heard", change.new.owner_id))
          .on("system", {}, ({ status }) => console.log("listening", status))
          .subscribe();
        """.replace("import {", 'import process from "node:process";\nimport {', 1)
    )
    runner = javascript(tmp_path, {**settings(stack, realtime.url), "EMAIL": "bob@example.com"})
    runner.command[-1] = str(listener)
    child = runner.start(kiln)
    try:
        until(lambda: "listening ok" in child.log_path.read_text(), "Bob", timeout=180)
        (tmp_path / "alice").mkdir()
        done = javascript(tmp_path / "alice", settings(stack)).run(kiln)
        assert done.returncode == 0, done.stderr
        until(lambda: realtime.log.count("withheld") >= 2, "Alice's job", timeout=180)
        assert "sent" not in realtime.log
        assert "heard" not in child.log_path.read_text()
    finally:
        child.stop()


# -- SQL


@pytest.fixture
def searchable(stack: StackInfo, kiln: Path, tmp_path: Path) -> None:
    done = python(tmp_path, settings(stack)).run(kiln)
    assert done.returncode == 0, done.stderr


def psql(stack: StackInfo, script: str, **variables: str) -> str:
    """Run a script of examples/sql like its reader."""
    options = [part for name, value in variables.items() for part in ("-v", f"{name}={value}")]
    done = subprocess.run(
        [
            *(str(binaries() / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"),
            *options,
            *("-f", str(EXAMPLES / "sql" / script), stack.database_url("postgres")),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def embedding_of(text: str) -> str:
    vectors, _tokens = LocalEmbedder().embed([text])
    return str(vectors[0].tolist())


def test_realtime_may_be_given_the_jobs_later(stack: StackInfo) -> None:
    published = (
        "select count(*) from pg_publication_tables where pubname = 'supabase_realtime'"
        " and (schemaname, tablename) = ('ingest', 'jobs')"
    )
    with psycopg.connect(stack.database_url("postgres"), autocommit=True) as connection:
        assert connection.execute(published).fetchone() == (1,), "docmill schema apply did it"
        connection.execute("alter publication supabase_realtime drop table ingest.jobs")
        psql(stack, "realtime.sql")
        assert connection.execute(published).fetchone() == (1,)


@pytest.mark.usefixtures("searchable")
def test_sql_finds_what_its_user_may_read(stack: StackInfo) -> None:
    query = {"model": LocalEmbedder.model, "embedding": embedding_of(QUESTION)}
    found = psql(stack, "search.sql", user=ALICE, **query)
    assert "The kiln is fired every Thursday." in found
    assert "The kiln" not in psql(stack, "search.sql", user=BOB, **query)


@pytest.mark.usefixtures("searchable")
def test_a_service_s_own_query_finds_the_same(stack: StackInfo) -> None:
    query = {"version": "1", "dimensions": "256", "embedding": embedding_of(QUESTION)}
    found = psql(stack, "service_search.sql", owner=ALICE, **query)
    assert "The kiln is fired every Thursday." in found
    assert psql(stack, "service_search.sql", owner=BOB, **query).strip() == ""
    with psycopg.connect(stack.database_url("postgres")) as connection:
        ours = connection.execute(
            "select 1 - (embedding operator(extensions.<=>) %(query)s::extensions.halfvec)"
            "  from ingest.chunks where owner_id = %(owner)s order by 1 desc limit 5",
            {"query": query["embedding"], "owner": ALICE},
        ).fetchall()
    scores = [float(line.split("|")[0]) for line in found.splitlines() if _is_row(line)]
    assert scores == pytest.approx([row[0] for row in ours], abs=1e-6)


def _is_row(line: str) -> bool:
    score, bar, rest = line.partition("|")
    return bool(bar) and rest.startswith(ALICE) and score.replace(".", "", 1).isdigit()
