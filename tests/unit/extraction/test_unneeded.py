"""No parser misses the modules that the zygote leaves out: each reads its sample."""

import subprocess
import sys

PROGRAM = """
import sys
from docmill.worker.extraction.zygote import process
process.load_parsers()
unneeded = ("weasel", "typer", "spacy.cli", "filelock", "sqlite3")
print(*sorted(name for name in sys.modules if name.startswith(unneeded)))
"""


def test_the_parsers_do_without_it() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["filelock", "spacy.cli", "spacy.cli.info"]
