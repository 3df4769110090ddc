"""The containers of docker-compose.yml, without an engine.

The files that the Dockerfile installs run with the commands, environment and restrictions of
docker-compose.yml.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from docmill.embedded.postgres import PostgresServer
from docmill.embedded.process import ChildProcess, free_port, log_tail, start_child
from docmill.embedded.redis import RedisServer, redis_binary
from docmill.embedded.stack import SERVICES
from tests.support import compose
from tests.support.container import Container, python_folders
from tests.support.database import make_database
from tests.support.dockerfile import Build, Step, stages
from tests.support.installation import ALICE, Installation, install, until

LONG = "This sentence is about nothing in particular but it fills the section. " * 6
REDIS_PASSWORD = "redisCanary7"
FLOWER_PASSWORD = "flower canary"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take away what it has")


@dataclass(frozen=True)
class Image:
    """The result of building the Dockerfile."""

    root: Path
    settings: list[Step]

    @property
    def environ(self) -> dict[str, str]:
        """The environment that the image gives every process."""
        lines = " ".join(step.text for step in self.settings if step.name == "ENV")
        own = dict(part.split("=", 1) for part in lines.split())
        assert own["PATH"] == "/opt/docmill/bin:$PATH"
        return own | {"PATH": f"{self.root}/opt/docmill/bin:/usr/bin:/bin"}

    def command(self, *arguments: str) -> list[str]:
        """The entry point with arguments."""
        (entry,) = [json.loads(step.text) for step in self.settings if step.name == "ENTRYPOINT"]
        return [f"{self.root}/opt/docmill/bin/{entry[0]}", *arguments]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Carries out the build stage; pip finds only packages of this environment."""
    root = tmp_path_factory.mktemp("image")
    root.chmod(0o755)
    first, last = stages(compose.ROOT / "Dockerfile")
    assert Step("COPY", "--from=build /opt/docmill /opt/docmill") in last
    build = Build(
        compose.ROOT,
        root,
        {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(root),
            "PIP_NO_INDEX": "1",
            # Pip has a quirk: this value means that there is no index.
            "PIP_NO_BUILD_ISOLATION": "0",
        },
    )
    for step in first:
        build.follow(step)
        if "-m venv" in step.text:
            (packages,) = build.path("/opt/docmill").glob("lib/python*/site-packages")
            (ours,) = Path(sys.prefix).glob("lib/python*/site-packages")
            (packages / "installed-already.pth").write_text(str(ours))
    return Image(root, last)


def test_the_image_works_for_nobody_in_a_folder_that_cannot_be_written(
    image: Image, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    nobody = Container(
        65534, 65534, visible=[*python_folders(), str(image.root), str(tmp_path)],
        folder=str(tmp_path),
    )  # fmt: skip
    helped = run(nobody.command(*image.command("--help")), image.environ)
    assert set(SERVICES) - {"isolated"} <= set(re.findall(r"^  (\w+)", helped, re.MULTILINE))
    where = "import docmill, os; print(docmill.__file__, os.getuid(), os.access('.', os.W_OK))"
    python = f"{image.root}/opt/docmill/bin/python"
    said = run(nobody.command(python, "-c", where), image.environ).split()
    assert Path(said[0]).is_relative_to(image.root)
    assert said[1:] == ["65534", "False"]


def run(command: list[str], environ: dict[str, str]) -> str:
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class Composition:
    """The services of docker-compose.yml, started one by one, each with a folder as its `/`."""

    image: Image
    folder: Path
    variables: dict[str, str]  #: from the `.env` file
    replaced: dict[str, str]  #: values that containers get from their own network
    children: dict[str, ChildProcess] = field(default_factory=dict)

    def service(self, name: str) -> dict[str, Any]:
        return compose.services(self.variables)[name]

    def home(self, name: str) -> str:
        """The folder that stands for the root of a container's file system."""
        path = self.folder / name
        path.mkdir(mode=0o755, exist_ok=True)
        return str(path)

    def start(
        self, name: str, command: Sequence[str] = (), writable: Sequence[str] = ()
    ) -> ChildProcess:
        """Start a service as in the file; its volumes are `writable`."""
        service, home = self.service(name), self.home(name)
        user, group = map(int, service["user"].split(":"))
        folders = {home + path: options for path, options in compose.tmpfs(service).items()}
        container = Container(
            user,
            group,
            tmpfs=folders,
            writable=writable,
            visible=[*python_folders(), str(self.image.root), home],
            folder=home,
        )
        self.children[name] = start_child(
            name,
            container.command(*(command or self.image.command(*service["command"]))),
            log_path=self.folder / f"{name}.log",
            environ=self.environ(name),
        )
        return self.children[name]

    def start_redis(self) -> None:
        """Start Redis with a free port and a folder as its volume, and wait for it."""
        shell, flag, script = self.service("redis")["command"]
        data = Path(self.home("redis")) / "data"
        if not data.exists():
            data.mkdir()
            os.chown(data, 999, 1000)
        ours = f"dir {data}\nport {self.replaced['port']}\nbind 127.0.0.1\n"
        script = script.replace("dir /data\n", ours)
        script = script.replace("exec redis-server", f"exec {redis_binary()}")
        self.start("redis", [f"/bin/{shell}", flag, script], writable=[str(data)])
        until(lambda: self.healthy("redis"), "Redis is healthy")

    def environ(self, name: str) -> dict[str, str]:
        home = self.home(name)
        own = compose.environment(self.service(name), self.variables)
        moved = {
            key: home + value if value.startswith(("/tmp/", "/spool")) else value
            for key, value in own.items()
        }
        here = {key: value for key, value in self.replaced.items() if key in own or "PORT" in key}
        return moved | here | self.image.environ | {"TMPDIR": f"{home}/tmp", "HOME": f"{home}/tmp"}

    def healthy(self, name: str) -> bool:
        """Whether the service's own health check passes now."""
        child = self.children[name]
        assert not child.ended(), f"{name}: {log_tail(child.log_path)}"
        kind, *command = self.service(name)["healthcheck"]["test"]
        command = ["sh", "-c", *command] if kind == "CMD-SHELL" else command
        inside = f"/proc/{child.pid}/root{self.home(name)}/tmp/"
        ports = {"8787": "DOCMILL_WEBHOOK_PORT", "5555": "DOCMILL_FLOWER_PORT"}
        for port, variable in ports.items():
            command[-1] = command[-1].replace(f":{port}/", f":{self.replaced[variable]}/")
        command[-1] = command[-1].replace("find /tmp/", f"find {inside}")
        command[-1] = command[-1].replace("redis-cli", f"redis-cli -p {self.replaced['port']}")
        environ = self.environ(name)
        environ["PATH"] += f":{redis_binary().parent}"
        return (
            subprocess.run(command, env=environ, check=False, capture_output=True).returncode == 0
        )

    def ask_flower(self, path: str) -> str:
        """Flower's answer to the operator with the login of the file."""
        own = self.service("flower")["environment"]
        login = (own["DOCMILL_FLOWER_USER"], own["DOCMILL_FLOWER_PASSWORD"])
        answer = httpx.get(
            f"http://127.0.0.1:{self.replaced['DOCMILL_FLOWER_PORT']}{path}", auth=login
        )
        assert answer.status_code == 200
        return answer.text

    def stop(self) -> None:
        for child in reversed(self.children.values()):
            child.stop()


@pytest.fixture
def composition(image: Image, tmp_path: Path) -> Iterator[Composition]:
    """Redis runs with its command in the file, on a free port and in its own folder."""
    port = str(free_port())
    made = Composition(
        image,
        tmp_path,
        {
            "REDIS_PASSWORD": REDIS_PASSWORD,
            "DATABASE_URL": "-",
            "DOCMILL_FLOWER_PASSWORD": FLOWER_PASSWORD,
        },
        {
            "port": port,
            "REDIS_URL": f"redis://:{REDIS_PASSWORD}@127.0.0.1:{port}/0",
            "DOCMILL_WEBHOOK_PORT": str(free_port()),
            "DOCMILL_FLOWER_PORT": str(free_port()),
            # Only a container's own network may listen on all addresses.
            "DOCMILL_WEBHOOK_HOST": "127.0.0.1",
            "DOCMILL_FLOWER_HOST": "127.0.0.1",
        },
    )
    made.start_redis()
    try:
        yield made
    finally:
        made.stop()


def test_redis_keeps_what_it_took_and_tells_nobody_its_password(composition: Composition) -> None:
    child = composition.children["redis"]

    def ask(*arguments: str, password: str = "") -> str:
        client = [str(redis_binary().parent / "redis-cli"), "-p", composition.replaced["port"]]
        environ = {"REDISCLI_AUTH": password} if password else {}
        return run([*client, *arguments], environ).strip()

    assert "NOAUTH" in ask("set", "a", "1")
    assert ask("set", "a", "1", password=REDIS_PASSWORD) == "OK"
    for name, value in (
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("maxmemory-policy", "noeviction"),
        ("maxmemory", str(160 * 1024**2)),
        ("save", ""),
    ):
        said = ask("config", "get", name, password=REDIS_PASSWORD).splitlines()
        assert said[1:] == ([value] if value else []), name
    command_line = Path(f"/proc/{child.pid}/cmdline").read_text()
    assert REDIS_PASSWORD not in command_line + child.log_path.read_text()
    assert Path(f"/proc/{child.pid}/status").read_text().split("Uid:")[1].split()[0] == "999"


@pytest.fixture
def installed(
    composition: Composition, postgres: PostgresServer, tmp_path: Path
) -> Iterator[Installation]:
    """A project, and every process in its own container."""
    redis = RedisServer(
        composition.children["redis"], int(composition.replaced["port"]), REDIS_PASSWORD
    )
    with ExitStack() as stack:
        database = stack.enter_context(make_database(postgres, "project"))
        made = stack.enter_context(install(database, redis, tmp_path))
        composition.variables |= made.settings
        composition.replaced["DOCMILL_WEBHOOK_PORT"] = str(made.webhook_port)
        stack.callback(composition.stop)
        for name in SERVICES:
            composition.start(name)
        yield made


def test_everything_works_under_the_restrictions_of_its_container(
    composition: Composition, installed: Installation
) -> None:
    for name in SERVICES:
        until(lambda name=name: composition.healthy(name), f"{name} is healthy")  # type: ignore[misc]
    first = installed.upload(ALICE, "contained.md", f"# Contained\n\n{LONG}")
    assert installed.wait_for_job(first)["state"] == "succeeded"
    assert installed.search(ALICE, installed.openai.texts[-1])[0]["object_name"] == first

    # Redis may stop and start: nobody must do anything.
    composition.children["redis"].stop()
    composition.start_redis()
    second = installed.upload(ALICE, "after.md", f"# After the outage\n\n{LONG}")
    assert installed.wait_for_job(second)["state"] == "succeeded"
    until(lambda: "after.md" in composition.ask_flower("/api/tasks"), "Flower hears again")

    # Without namespaces parsers can use the network, and the log says so.
    worker = composition.children["worker"].log_path.read_text()
    assert "zygote_isolation_incomplete" in worker
    logs = "".join(child.log_path.read_text() for child in composition.children.values())
    for secret in (REDIS_PASSWORD, FLOWER_PASSWORD, "sb_secret_canary", "webhook-canary"):
        assert secret not in logs
    for name in reversed(list(SERVICES)):
        assert composition.children[name].stop() == 0, name
