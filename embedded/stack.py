"""The embedded stack: what runs, on which ports, with which keys."""

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
#: File of a data folder that is locked from the first moment of a stack to its last.
LOCK_NAME: Final = "lock"
#: Who uploads and searches when nobody else is named.
DEFAULT_OWNER: Final = "00000000-0000-4000-8000-000000000001"
ALICE: Final = "a11ce000-0000-4000-8000-000000000001"
BOB: Final = "b0b00000-0000-4000-8000-000000000002"
#: Users who can sign in, address by id. They share one password.
DEMO_USERS: Final[Mapping[str, str]] = {
    ALICE: "alice@example.com",
    BOB: "bob@example.com",
    DEFAULT_OWNER: "you@example.com",
}
#: What embeds unless somebody chooses a provider: a shell with keys in it is not to be billed.
LOCAL_EMBEDDING: Final[Mapping[str, str]] = {"DOCMILL_EMBEDDER": "local"}
DEFAULT_BUCKET: Final = "documents"
FLOWER_USER: Final = "docmill"

#: The processes of an installation, and what `docmill` is asked to be for each. The same in
#: docker-compose.yml.
SERVICES: Final[Mapping[str, tuple[str, ...]]] = {
    "webhook": ("webhook",),
    "worker": ("worker",),
    "isolated": ("worker", "--isolated"),
    "beat": ("beat",),
    "flower": ("flower",),
}


@dataclass(frozen=True)
class Keys:
    """Secrets of one data folder, made once."""

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
    """A running stack, as written to `stack.json` for other commands to find."""

    pid: int
    started: float  #: start time of `docmill up` in clock ticks: tells it from a later pid
    home: str  #: its data folder
    ports: Ports
    keys: Keys
    redis_url: str
    #: Settings of what embeds, without keys: those who need these have them from the environment.
    embedding: Mapping[str, str] = field(default_factory=lambda: dict(LOCAL_EMBEDDING))

    @property
    def api_url(self) -> str:
        """What SUPABASE_URL is for this stack."""
        return f"http://127.0.0.1:{self.ports.api}"

    @property
    def flower_url(self) -> str:
        """Where Flower asks for the login: FLOWER_USER and the password of the keys."""
        return f"http://127.0.0.1:{self.ports.flower}"

    def database_url(self, role: str) -> str:
        """Connection URL of a role."""
        return (
            f"postgresql://{role}:{self.keys.role_password}"
            f"@127.0.0.1:{self.ports.postgres}/postgres"
        )

    def environ(self) -> dict[str, str]:
        """The settings with which docmill's commands work on this stack."""
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
        """What Flower alone is told."""
        return {
            "DOCMILL_FLOWER_PORT": str(self.ports.flower),
            "DOCMILL_FLOWER_USER": FLOWER_USER,
            "DOCMILL_FLOWER_PASSWORD": self.keys.flower_password,
        }


def process_start_time(pid: int) -> float | None:
    """When a process started, in clock ticks since boot; None when it does not run (any more)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name of the program, in parentheses, may hold anything, spaces too.
    fields = stat.rpartition(")")[2].split()
    is_zombie = fields[0] == "Z"  # has ended, but nobody asked how yet
    return None if is_zombie else float(fields[19])


def candidate_homes() -> Iterator[Path]:
    """Where a stack may keep its data: DOCMILL_HOME, else .docmill here or in a folder above."""
    named = os.environ.get(HOME_VARIABLE)
    if named:
        yield Path(named)
        return
    here = Path.cwd()
    for folder in (here, *here.parents):
        yield folder / FOLDER_NAME


def default_home() -> Path:
    """Where `docmill up` keeps its data unless told otherwise: an existing folder, else here."""
    candidates = list(candidate_homes())
    return next((home for home in candidates if home.is_dir()), candidates[0])


def temporary_folder(home: Path) -> Path:
    """Where the stack's processes keep what may be lost: inside the data folder."""
    # libxml2, through which workbooks are read, takes a percent sign for the start of an escape.
    return home / "tmp" if "%" not in str(home) else Path(tempfile.gettempdir())


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner can read, all at once."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_text(content)
    temporary.replace(path)


def load_keys(home: Path) -> Keys:
    """The keys of a data folder, made on the first call; what an older one lacks is added."""
    path = home / "keys.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    keys = {**asdict(Keys.generate()), **stored}
    if keys != stored:
        write_private(path, json.dumps(keys))
    return Keys(**keys)


def write_info(home: Path, info: StackInfo) -> None:
    """Let other commands find this stack."""
    write_private(home / "stack.json", json.dumps(asdict(info)))


def read_info(home: Path) -> StackInfo | None:
    """The stack that runs on this data folder; None when none does."""
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
    """Who starts, runs or stops a stack on this data folder; None when nobody does."""
    try:
        pid, started = (home / LOCK_NAME).read_text().split()
        holder = LockHolder(int(pid), float(started))
    except (OSError, ValueError):
        return None
    return holder if holder.is_running() else None


def find_running() -> StackInfo | None:
    """The running stack that this command means, if any."""
    return next((info for home in candidate_homes() if (info := read_info(home))), None)
