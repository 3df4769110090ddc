"""The wheel as users install it: in an empty environment, without the repository."""

import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.shell import Shell
from tests.support.wheel import ROOT, build_wheel, install_wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def shell(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("wheel")
    programs = install_wheel(wheel, folder / "environment")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    made = Shell(elsewhere, (str(programs / "docmill"),))
    yield made
    made.run("down")


def test_the_wheel_holds_the_schema_and_the_console(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    for folder, place in (
        ("schema", "docmill/schema"),
        ("examples/console", "docmill/embedded/console"),
    ):
        files = [path for path in (ROOT / folder).rglob("*") if path.suffix != ".pyc"]
        for path in filter(Path.is_file, files):
            name = f"{place}/{path.relative_to(ROOT / folder).as_posix()}"
            assert packed[name] == path.read_bytes()
    tops = {name.partition("/")[0] for name in packed}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"docmill"}


def test_others_of_the_short_names_do_no_harm(shell: Shell) -> None:
    packages = next(Path(shell.program[0]).parent.parent.glob("lib/python*/site-packages"))
    others = [packages / f"{name}.py" for name in ("worker", "tasks", "schema", "embedded")]
    for other in others:
        other.write_text("raise ImportError('another project')\n")
    try:
        (exported,) = shell.rows("schema", "export", "--to", "migrations")
        assert exported["changed"] is True
    finally:
        for other in others:
            other.unlink()


def test_the_installed_program_is_the_wheels(shell: Shell) -> None:
    python = Path(shell.program[0]).parent / "python"
    places = subprocess.run(
        [
            python,
            "-c",
            "from docmill import worker, tasks as t; print(worker.__file__); print(t.__file__)",
        ],
        cwd=shell.folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(places) == 2
    assert all(Path(place).is_relative_to(python.parent.parent) for place in places)
    assert shell.run("--version").startswith("docmill ")


def test_the_wheel_ingests_and_searches(shell: Shell) -> None:
    (stack,) = shell.rows("up", "--detach")
    (shell.folder / "canal.txt").write_text("The canal freezes in January. " * 9)
    (report,) = shell.rows("ingest", "canal.txt", "--wait")
    assert report["state"] == "succeeded"
    (hit,) = shell.rows("search", "When does the canal freeze?", "-k", "1")
    assert "January" in hit["content"]
    assert shell.rows("schema", "check")[0]["ok"] is True
    console = httpx.get(f"{stack['api_url']}/console/")
    assert console.status_code == 200
    assert "docmill" in console.text
    assert shell.run("down").strip() == "stopped"
