"""The promises of docker-compose.yml."""

import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from pydantic import AliasChoices, SecretStr

from docmill import __version__
from docmill.embedded.stack import SERVICES
from docmill.worker.settings.parts import PREFIX, ProviderSettings
from docmill.worker.settings.processes import Settings
from tests.support import compose
from tests.support.dockerfile import is_ignored

#: A `.env` with every secret; the value of each is its own name.
NEEDED = {"REDIS_PASSWORD": "redis-password", "DATABASE_URL": "DATABASE_URL"}


def names_of(field: str) -> list[str]:
    alias = Settings.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return [str(name) for name in alias.choices]
    return [PREFIX + field.upper()]


def is_secret(field: str) -> bool:
    return SecretStr.__name__ in str(Settings.model_fields[field].annotation)


#: A worker serves the providers whose keys it has.
PROVIDER_SECRETS = {name for name in ProviderSettings.model_fields if is_secret(name)}


SECRETS = [field for field in Settings.model_fields if is_secret(field)]
VARIABLES = {name: name for field in SECRETS for name in names_of(field)} | NEEDED
ALL = compose.services(VARIABLES)
OURS = {name: service for name, service in ALL.items() if name != "redis"}


@pytest.fixture(params=list(ALL.values()), ids=list(ALL))
def service(request: pytest.FixtureRequest) -> Any:
    """Each service."""
    return request.param


def test_it_is_valid() -> None:
    """Valid by the Compose specification's own schema."""
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema", "--schemafile", str(schema)),
            str(compose.ROOT / "docker-compose.yml"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_commands_are_those_of_the_tests() -> None:
    """The commands equal `SERVICES`, which `docmill up` starts too."""
    assert {name: tuple(service["command"]) for name, service in OURS.items()} == SERVICES
    assert {service["image"] for service in OURS.values()} == {f"docmill:{__version__}"}


def test_every_container_is_hardened(service: dict[str, Any]) -> None:
    user, group = service["user"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert compose.size(service["mem_limit"]) <= 4 * 1024**3
    assert 0 < service["pids_limit"] <= 1024
    assert service["init"] is True


def test_every_container_is_looked_after(service: dict[str, Any]) -> None:
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


def test_images_are_of_one_version(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z]+:\d+\.\d+\.\d+(-alpine)?", service["image"])


def test_workers_are_waited_for_until_they_have_drained() -> None:
    drain = Settings.model_fields["drain_seconds"].default
    for name in ("worker", "isolated"):
        assert compose.seconds(ALL[name]["stop_grace_period"]) >= drain + 10


def test_ports_are_open_to_this_host_alone() -> None:
    published = {name: service.get("ports", []) for name, service in ALL.items()}
    assert {name: ports for name, ports in published.items() if ports} == {
        "webhook": ["127.0.0.1:8787:8787"],
        "flower": ["127.0.0.1:5555:5555"],
    }


def test_redis_and_beat_have_no_way_out() -> None:
    for name, service in ALL.items():
        wanted = ["queue"] if name in ("redis", "beat") else ["queue", "outside"]
        assert service["networks"] == wanted


@pytest.mark.parametrize(("name", "children"), [("worker", 2), ("isolated", 1)])
def test_a_workers_memory_limit_holds_what_it_may_use(name: str, children: int) -> None:
    service = ALL[name]
    own = service["environment"]
    spool = int(own["DOCMILL_SPOOL_BYTES"])
    assert own.get("DOCMILL_EXTRACTION_CHILDREN", 1) == children
    parsers = children * int(own["DOCMILL_PARSE_MEMORY_BYTES"])
    assert compose.size(service["mem_limit"]) >= parsers + spool + 512 * 1024**2
    folders = compose.tmpfs(service)
    assert compose.tmpfs_size(folders[own["DOCMILL_SPOOL_DIR"]]) >= spool * 1.2
    assert spool >= Settings.model_fields["max_document_bytes"].default


def secrets_of(name: str) -> set[str]:
    """The secret settings that a service gets."""
    found = compose.environment(ALL[name], VARIABLES)
    return {field for field in SECRETS if any(found.get(alias) for alias in names_of(field))}


def test_each_container_has_the_secrets_that_it_needs_and_no_others() -> None:
    assert {name: secrets_of(name) for name in ALL} == {
        "redis": set(),
        "beat": {"redis_url"},
        "flower": {"redis_url", "flower_password"},
        "webhook": {"redis_url", "database_url", "webhook_secret", "webhook_signing_secrets"},
        "worker": {
            "redis_url",
            "database_url",
            "supabase_secret_key",
            *PROVIDER_SECRETS,
        },
        "isolated": {
            "redis_url",
            "database_url",
            "supabase_secret_key",
            *PROVIDER_SECRETS,
        },
    }


def test_no_secret_is_in_the_file() -> None:
    text = (compose.ROOT / "docker-compose.yml").read_text()
    bare = compose.services(NEEDED | {"DOCMILL_FLOWER_PASSWORD": "x"})
    for name in ("REDIS_PASSWORD", "DATABASE_URL", "DOCMILL_FLOWER_PASSWORD"):
        assert f"${{{name}:?set {name} in .env}}" in text
    for service in bare.values():
        values = json.dumps(service["environment"])
        assert not re.search(r"sb_secret|whsec_|sk-|eyJ", values)


def test_its_settings_are_settings() -> None:
    known = {name for field in Settings.model_fields for name in names_of(field)}
    others = {"REDIS_PASSWORD", "REDISCLI_AUTH"}
    # OpenTelemetry's own.
    others |= {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS"}
    for service in ALL.values():
        assert set(service["environment"]) <= known | others


def test_what_is_passed_on_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCMILL_LOG_LEVEL", "DOCMILL_RESEND_SECONDS", "DOCMILL_FLOWER_PASSWORD"):
        monkeypatch.setenv(name, "")
    settings = Settings()
    assert (settings.log_level, settings.resend_seconds, settings.flower_password) == (
        *("info", 30),
        None,
    )


def test_the_image_is_built_from_what_it_needs() -> None:
    """From pinned versions of this repository, and without build tools in the image."""
    text = (compose.ROOT / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.1[123]\.\d+-slim-\w+", bases[0])
    last = text[text.rindex("FROM ") :]
    assert f'org.opencontainers.image.version="{__version__}"' in last
    assert "USER 10001:10001" in last
    assert 'ENTRYPOINT ["docmill"]' in last
    assert not re.search(r"\b(pip|apt|gcc|build-essential)\b", last)
    assert OURS["worker"]["user"] == "10001:10001"


def test_no_secret_gets_into_the_image() -> None:
    lines = (compose.ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if not line.startswith("#")]
    for name in ("worker/app.py", "schema/functions/010_source_of.sql", "constraints.txt"):
        assert not is_ignored(Path(name), patterns)
    for name in (".env", "worker/.env", ".docmill/keys.json", ".git/config", "tests/conftest.py"):
        assert is_ignored(Path(name), patterns)
    assert is_ignored(Path("worker/cli/__pycache__/main.pyc"), patterns)
    assert ".env" in (compose.ROOT / ".gitignore").read_text().splitlines()


def test_its_file_is_where_it_is_looked_for() -> None:
    assert [path.name for path in Path(compose.ROOT).glob("*compose*")] == ["docker-compose.yml"]
