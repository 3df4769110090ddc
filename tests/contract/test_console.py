"""The answers of the console's server. Tests with a browser are in tests/acceptance."""

import http.client
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from docmill.embedded.api import ApiServer, start_api
from docmill.embedded.console import console_folder
from docmill.embedded.postgres import PostgresServer
from tests.support.api import KEYS, api_settings
from tests.support.database import make_database
from tests.support.javascript import deno_environ, deno_path

HINT = "Users of this machine: alice@example.com."


@pytest.fixture(scope="module")
def api(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    folder = tmp_path_factory.mktemp("console")
    with make_database(postgres) as database:
        settings = replace(
            api_settings(database, folder), console_bucket="documents", console_hint=HINT
        )
        server = start_api(settings, log_path=folder / "api.log")
        try:
            yield server
        finally:
            server.stop()


def get(api: ApiServer, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """The path exactly as written: httpx would tidy it up."""
    connection = http.client.HTTPConnection(urlsplit(api.url).netloc, timeout=180)
    connection.request(method, path)
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    content = answer.read()
    connection.close()
    return answer.status, headers, content


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/console/", "text/html; charset=utf-8"),
        ("/console/index.html", "text/html; charset=utf-8"),
        ("/console/app.js", "text/javascript; charset=utf-8"),
        ("/console/style.css", "text/css; charset=utf-8"),
        ("/console/icon.svg", "image/svg+xml"),
        ("/console/config.json", "application/json"),
    ],
)
def test_each_file_is_served_as_what_it_is(api: ApiServer, path: str, content_type: str) -> None:
    status, headers, content = get(api, path)
    assert status == 200
    assert headers["content-type"] == content_type
    assert headers["content-length"] == str(len(content))
    status, headers, content = get(api, path, "HEAD")
    assert (status, content) == (200, b"")
    assert headers["content-type"] == content_type


def test_everything_that_the_page_names_is_there(api: ApiServer) -> None:
    page = (console_folder() / "index.html").read_text()
    names = re.findall(r"""(?:src|href)=["']([^"'#]+)["']""", page)
    assert len(names) >= 4
    for name in names:
        assert "://" not in name, "only files of its own"
        assert get(api, f"/console/{name}")[0] == 200, name


@pytest.mark.parametrize("path", ["/console/", "/console/app.js", "/console/nothing"])
def test_the_browser_is_told_to_load_nothing_from_elsewhere(api: ApiServer, path: str) -> None:
    _status, headers, _content = get(api, path)
    policy = headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["frame-ancestors"] == "'none'"
    assert rules["base-uri"] == "'none'"
    assert {rules[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-cache"


def test_the_page_needs_nothing_that_its_policy_forbids() -> None:
    page = (console_folder() / "index.html").read_text()
    assert "<script>" not in page
    assert "<style" not in page
    assert not re.search(r"\s(on[a-z]+|style)=", page)


def test_an_unchanged_file_is_not_sent_again(api: ApiServer) -> None:
    url = f"{api.url}/console/app.js"
    tag = httpx.get(url).headers["etag"]
    assert httpx.get(url, headers={"if-none-match": tag}).status_code == 304


def test_the_configuration_holds_what_a_browser_may_know(api: ApiServer) -> None:
    answer = httpx.get(f"{api.url}/console/config.json")
    assert answer.json() == {
        "url": api.url,
        "publishable_key": KEYS.publishable_key,
        "bucket": "documents",
        "hint": HINT,
        "asks": False,
    }
    assert KEYS.secret_key not in answer.text
    assert KEYS.jwt_secret not in answer.text


@pytest.mark.parametrize("path", ["/", "/console"])
def test_whoever_opens_the_address_finds_the_console(api: ApiServer, path: str) -> None:
    status, headers, _content = get(api, path)
    assert status in (302, 307)
    assert urlsplit(headers["location"]).path == "/console/"


@pytest.mark.parametrize(
    "path",
    [
        "/console/nothing.js",
        "/console/vendor/",
        "/console/vendor",
        "/console/../../../pyproject.toml",
        "/console/..%2f..%2fpyproject.toml",
        "/console/%2e%2e/%2e%2e/pyproject.toml",
        "/console/..\\..\\pyproject.toml",
        "/console/vendor/../../../pyproject.toml",
        "/console//etc/passwd",
        "/console/%2fetc%2fpasswd",
        "/console/app.js%00.html",
        "/console/" + "a" * 5000,
    ],
)
def test_nothing_else_is_served(api: ApiServer, path: str) -> None:
    status, _headers, content = get(api, path)
    assert status == 404
    for secret in (b"[project]", b"root:", KEYS.secret_key.encode()):
        assert secret not in content


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/console/", "/console/config.json"])
def test_nothing_can_be_written(api: ApiServer, method: str, path: str) -> None:
    assert get(api, path, method)[0] == 405


def test_the_script_can_be_read(tmp_path: Path) -> None:
    """Without a browser it fails at its first use of the page, and not earlier."""
    script = (console_folder() / "app.js").as_uri()
    done = subprocess.run(
        [deno_path(), "eval", f"await import({script!r})"],
        env=dict(deno_environ(tmp_path)),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert "config.json" in done.stderr
    assert "SyntaxError" not in done.stderr
