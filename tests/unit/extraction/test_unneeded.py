"""No parser misses the modules that the zygote leaves out: each reads its sample."""

import subprocess
import sys

PROGRAM = """
import sys
from docmill.worker.extraction.zygote import unneeded
unneeded.leave_out()
from docmill.worker.extraction.zygote import warm
warm.warm_up()
left = [name for name in sys.modules if name.startswith(("weasel", "typer", "spacy.cli."))]
print(*left)
"""


def test_the_parsers_do_without_it() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["spacy.cli.info"]
