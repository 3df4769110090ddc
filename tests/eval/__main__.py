"""Measure how well search answers questions.

    python -m tests.eval [--set FOLDER]... [--sizes 200,400,800] [--keep]

Without a folder it uses docmill's own set. Each set is read, cut, embedded by the local model and
searched in its own PostgreSQL, for each chunk size. `--keep` stores the figures for
docs/evaluation.md; a set has the name of its folder. Every run gives the same figures.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from docmill.embedded.postgres import PostgresServer, start_postgres
from docmill.worker.embedding.local import LocalEmbedder
from tests.conftest import FAST
from tests.eval import page, results
from tests.eval.collection import documents_of, questions_of
from tests.eval.corpus import read_files, store
from tests.eval.search import ask_all
from tests.support.database import make_database, make_template

OWN = Path(__file__).with_name("own")


def measured(server: PostgresServer, folder: Path, tokens: int, work: Path) -> dict[str, Any]:
    """The figures of a set at one chunk size."""
    embedder = LocalEmbedder()
    questions = questions_of(folder)
    documents = read_files(documents_of(folder, work), tokens=tokens)
    with make_database(server) as database:
        with database.connect() as admin:
            passages = store(admin, documents, embedder)
        asked = ask_all(database, questions, passages, embedder)
    return results.result_of(folder.name, tokens, questions, len(passages), asked)


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--set", type=Path, action="append", dest="sets", metavar="FOLDER")
    parser.add_argument("--sizes", default="200,400,800", help="chunk sizes in tokens")
    parser.add_argument("--keep", action="store_true", help="for docs/evaluation.md")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        server = start_postgres(Path(folder) / "postgres", options=FAST)
        try:
            make_template(server)
            for one in options.sets or [OWN]:
                work = Path(folder) / one.name
                work.mkdir()
                found = [measured(server, one, size, work) for size in sizes]
                print("\n".join(page.lines_of(one.name, found)), flush=True)
                if options.keep:
                    results.keep(found, one.name)
        finally:
            server.stop()
    if options.keep:
        page.main()


if __name__ == "__main__":
    main()
