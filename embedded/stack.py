"""The embedded stack: its processes, ports and keys."""

import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

HOME_VARIABLE: Final = "DOCMILL_HOME"
FOLDER_NAME: Final = ".docmill"
#: A file of the data folder that the stack keeps locked from its start to its end.
LOCK_NAME: Final = "lock"
#: The user who uploads and searches if nobody else is named.
DEFAULT_OWNER: Final = "00000000-0000-4000-8000-000000000001"
ALICE: Final = "a11ce000-0000-4000-8000-000000000001"
BOB: Final = "b0b00000-0000-4000-8000-000000000002"
#: Users who can sign in, address by id. They share one password.
DEMO_USERS: Final[Mapping[str, str]] = {
    ALICE: "alice@example.com",
    BOB: "bob@example.com",
    DEFAULT_OWNER: "you@example.com",
}
#: The embedder unless somebody chooses a provider: keys in the shell must not cause costs.
LOCAL_EMBEDDING: Final[Mapping[str, str]] = {"DOCMILL_EMBEDDER": "local"}
DEFAULT_BUCKET: Final = "documents"
FLOWER_USER: Final = "docmill"

#: The processes of an installation, and the `docmill` command of each. docker-compose.yml has the
#: same.
SERVICES: Final[Mapping[str, tuple[str, ...]]] = {
    "webhook": ("webhook",),
    "worker": ("worker",),
    "isolated": ("worker", "--isolated"),
    "beat": ("beat",),
    "flower": ("flower",),
}


@dataclass(frozen=True)
class Keys:
    """The secrets of one data folder, made once."""

    jwt_secret: str
    publishable_key: str
    secret_key: str
    webhook_secret: str
    role_password: str
    demo_password: str  #: of all users of the embedded Auth
    flower_password: str

    @classmethod
    def generate(cls) -> "Keys":
        """New random keys in the forms that Supabase uses."""
        return cls(
            jwt_secret=secrets.token_urlsafe(32),
            publishable_key=f"sb_publishable_{secrets.token_urlsafe(24)}",
            secret_key=f"sb_secret_{secrets.token_urlsafe(24)}",
            webhook_secret=secrets.token_urlsafe(24),
            role_password=secrets.token_urlsafe(24),
            demo_password=secrets.token_urlsafe(9),
            flower_password=secrets.token_urlsafe(24),
        )


@dataclass(frozen=True)
class Ports:
    """Loopback ports of the services."""

    postgres: int
    redis: int
    api: int
    webhook: int
    flower: int


@dataclass(frozen=True)
class StackInfo:
    """A running stack, as written to `stack.json` for other commands."""

    pid: int
    started: float  #: start of `docmill up` in clock ticks: tells it from a later pid
    home: str  #: its data folder
    ports: Ports
    keys: Keys
    redis_url: str
    #: Settings of the embedder, without keys: commands that need keys read them from the
    #: environment.
    embedding: Mapping[str, str] = field(default_factory=lambda: dict(LOCAL_EMBEDDING))

    @property
    def api_url(self) -> str:
        """The SUPABASE_URL of this stack."""
        return f"http://127.0.0.1:{self.ports.api}"

    @property
    def flower_url(self) -> str:
        """The address of Flower. The login is FLOWER_USER and the password in the keys."""
        return f"http://127.0.0.1:{self.ports.flower}"

    def database_url(self, role: str) -> str:
        """Connection URL of a role."""
        return (
            f"postgresql://{role}:{self.keys.role_password}"
            f"@127.0.0.1:{self.ports.postgres}/postgres"
        )

    def environ(self) -> dict[str, str]:
        """The settings that docmill's commands need to work on this stack."""
        return {
            "DATABASE_URL": self.database_url("docmill_worker"),
            "DOCMILL_ADMIN_DATABASE_URL": self.database_url("postgres"),
            "REDIS_URL": self.redis_url,
            "SUPABASE_URL": self.api_url,
            "SUPABASE_SECRET_KEY": self.keys.secret_key,
            "SUPABASE_PUBLISHABLE_KEY": self.keys.publishable_key,
            "DOCMILL_WEBHOOK_SECRET": self.keys.webhook_secret,
            "DOCMILL_WEBHOOK_PORT": str(self.ports.webhook),
            **self.embedding,
            "DOCMILL_SPOOL_DIR": str(temporary_folder(Path(self.home))),
        }

    def flower_environ(self) -> dict[str, str]:
        """The settings that only Flower gets."""
        return {
            "DOCMILL_FLOWER_PORT": str(self.ports.flower),
            "DOCMILL_FLOWER_USER": FLOWER_USER,
            "DOCMILL_FLOWER_PASSWORD": self.keys.flower_password,
        }


def process_start_time(pid: int) -> float | None:
    """When a process started, in clock ticks since boot; None if it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The program's name, in parentheses, may contain anything, even spaces.
    fields = stat.rpartition(")")[2].split()
    is_zombie = fields[0] == "Z"  # has ended, but its parent has not read the exit code
    return None if is_zombie else float(fields[19])


def candidate_homes() -> Iterator[Path]:
    """Possible data folders of a stack: DOCMILL_HOME, or .docmill here or in a parent folder."""
    named = os.environ.get(HOME_VARIABLE)
    if named:
        yield Path(named)
        return
    here = Path.cwd()
    for folder in (here, *here.parents):
        yield folder / FOLDER_NAME


def default_home() -> Path:
    """The data folder of `docmill up` by default: an existing one, or else here."""
    candidates = list(candidate_homes())
    return next((home for home in candidates if home.is_dir()), candidates[0])


def temporary_folder(home: Path) -> Path:
    """Where the stack's processes keep files that may be lost: inside the data folder."""
    # libxml2, which reads workbooks, takes a percent sign in a path for the start of an escape.
    return home / "tmp" if "%" not in str(home) else Path(tempfile.gettempdir())


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner can read, in one step."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_text(content)
    temporary.replace(path)


def load_keys(home: Path) -> Keys:
    """The keys of a data folder, made on the first call; keys missing in an older one are added."""
    path = home / "keys.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    keys = {**asdict(Keys.generate()), **stored}
    if keys != stored:
        write_private(path, json.dumps(keys))
    return Keys(**keys)


def write_info(home: Path, info: StackInfo) -> None:
    """Write `stack.json`, so that other commands find this stack."""
    write_private(home / "stack.json", json.dumps(asdict(info)))


def read_info(home: Path) -> StackInfo | None:
    """The stack that runs on this data folder; None if none runs."""
    try:
        content = json.loads((home / "stack.json").read_text())
    except (OSError, ValueError):
        return None
    content["ports"] = Ports(**content["ports"])
    content["keys"] = Keys(**content["keys"])
    info = StackInfo(**content)
    return info if process_start_time(info.pid) == info.started else None


@dataclass(frozen=True)
class LockHolder:
    """The process that starts, runs or stops a stack."""

    pid: int
    started: float  #: as in StackInfo

    def is_running(self) -> bool:
        """False once it has ended."""
        return process_start_time(self.pid) == self.started


def lock_holder(home: Path) -> LockHolder | None:
    """The process that starts, runs or stops a stack on this data folder, if any."""
    try:
        pid, started = (home / LOCK_NAME).read_text().split()
        holder = LockHolder(int(pid), float(started))
    except (OSError, ValueError):
        return None
    return holder if holder.is_running() else None


def find_running() -> StackInfo | None:
    """The running stack that this command works on, if any."""
    return next((info for home in candidate_homes() if (info := read_info(home))), None)
