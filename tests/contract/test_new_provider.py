"""Follows docs/providers.md, which says how to add a provider, in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import provider_reference

ROOT = Path(__file__).parents[2]
PARTS = ("worker", "tasks", "schema", "embedded", "docmill", "tests", "pyproject.toml")


def test_the_tables_are_those_of_the_code() -> None:
    assert provider_reference.PAGE.read_text() == provider_reference.page(), (
        f"run {provider_reference.COMMAND}"
    )


def copied(folder: Path) -> Path:
    left_out = shutil.ignore_patterns("__pycache__", "fixtures", "benchmarks", "faults")
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=left_out)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def blocks() -> list[str]:
    """The code of the walk-through: the provider, its import, its form."""
    text = provider_reference.PAGE.read_text().split("## Add a provider")[1]
    found = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(found) == 3
    return found


def edited(path: Path, before: str, added: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, added + before))


def run(project: Path, *command: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


USED = """
import docmill
from docmill.worker.processes.connections import first_index, served_providers
from docmill.worker.settings.environment import load_settings
from docmill.worker.settings.processes import WorkerSettings
settings = load_settings(WorkerSettings)
made = first_index(settings, chunk_tokens=400)
print(docmill.__file__, "acme" in served_providers(settings), made.model, made.dimensions,
      settings.usd_per_million_tokens("acme", "acme-1"))
"""


def test_a_provider_is_one_file_one_entry_and_a_form_for_its_tests(tmp_path: Path) -> None:
    project = copied(tmp_path)
    provider, entry, form = blocks()
    assert len(provider.splitlines()) <= 55
    (project / "worker/providers/acme.py").write_text(provider)
    registry = project / "worker/providers/registry.py"
    edited(registry, "from docmill.worker.providers.azure import", entry)
    edited(registry, "        OpenAI(),\n", "        Acme(),\n")
    fakes = project / "tests/support/fake_providers.py"
    edited(fakes, "#: By the name of the provider. Every provider", form + "\n\n")
    edited(fakes, '    "openai": OpenAIForm(),\n', '    "acme": AcmeForm(),\n')
    said = run(
        project, *("-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("tests/contract/test_providers.py", "tests/unit/test_provider_forms.py"),
        *("-k", "acme or server_to_be_tried"),
    )  # fmt: skip
    passed = re.search(r"^(\d+) passed", said, re.MULTILINE)
    assert passed, said
    assert int(passed[1]) > 100
    used = run(project, "-c", USED, DOCMILL_EMBEDDER="acme", ACME_API_KEY="key")
    assert used.split() == [str(project / "docmill/__init__.py"), "True", "acme-1", "512", "0.05"]
