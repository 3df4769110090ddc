"""docs/settings.md and .env.example, made from worker/settings/parts.py."""

from itertools import groupby
from pathlib import Path

from docmill.cli.config import Reference, references
from docmill.worker.settings.parts import EXAMPLE_WEBHOOK_SECRET

ROOT = Path(__file__).parents[2]
COMMAND = "python -m tests.support.settings_reference"
MARK = f"<!-- made by: {COMMAND} -->"

#: Settings that a project must set, with an example of their form.
REQUIRED = {
    "DATABASE_URL": "postgresql://docmill_worker.REF:PASSWORD@HOST.pooler.supabase.com:6543/postgres",
    "REDIS_URL": "redis://:PASSWORD@redis:6379/0",
    "SUPABASE_URL": "https://REF.supabase.co",
    "SUPABASE_SECRET_KEY": "sb_secret_...",
    "DOCMILL_WEBHOOK_SECRET": EXAMPLE_WEBHOOK_SECRET,
    "OPENAI_API_KEY": "sk-...",
}


#: Examples for other settings. An empty one is left out, because workers must not have it.
EXAMPLES = {
    "DOCMILL_ADMIN_DATABASE_URL": (
        "postgresql://postgres.REF:PASSWORD@HOST.pooler.supabase.com:5432/postgres"
    ),
}


_HEADER = "| variable | default | allowed | meaning | read by |\n" + "| --- " * 5 + "|"


def settings_table() -> str:
    """All settings as Markdown tables, one for each section."""
    parts = []
    for section, group in groupby(references(), key=lambda reference: reference.section):
        rows = [
            "| variable | default | allowed | meaning | read by |",
            "| --- | --- | --- | --- | --- |",
        ]
        rows += [_row(reference) for reference in group]
        parts.append(f"## {section.capitalize()}\n\n" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _row(reference: Reference) -> str:
    variables = ", ".join(f"`{name}`" for name in reference.variables)
    said = (variables, reference.default, reference.allowed, reference.meaning)
    return f"| {' | '.join(said)} | {', '.join(reference.read_by) or 'commands'} |"


def env_example() -> str:
    """The environment file: what must be filled in, and everything else as a comment."""
    lines = [
        "# Settings of docmill. Copy to .env and fill in; docs/settings.md explains each.",
        f"# Made by: {COMMAND}",
    ]
    for section, group in groupby(references(), key=lambda reference: reference.section):
        lines += ["", f"# -- {section}"]
        for reference in group:
            lines += _lines(reference)
    return "\n".join(lines) + "\n"


def _lines(reference: Reference) -> list[str]:
    required = next((name for name in reference.variables if name in REQUIRED), None)
    if required is not None:
        return [f"# {reference.meaning}", f"{required}={REQUIRED[required]}"]
    name = reference.variables[0]
    value = EXAMPLES.get(name, reference.default)
    # A shell reads this file too.
    return [f"# {reference.meaning}", f"#{name}=" + (f'"{value}"' if " " in value else value)]


if __name__ == "__main__":
    page = ROOT / "docs" / "settings.md"
    page.write_text(page.read_text().split(MARK)[0] + MARK + "\n\n" + settings_table())
    (ROOT / ".env.example").write_text(env_example())
