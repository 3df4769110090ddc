"""The table of jobs in a terminal."""

import io
from typing import Any

from rich.console import Console

from docmill.cli.observe import progress_table

#: What the database says of a file in Storage whose event is not settled yet.
WITHOUT_A_JOB: dict[str, Any] = dict.fromkeys(
    (
        *("owner_id", "job_id", "document_id", "state", "stage", "hold_reason", "error_code"),
        *("error_message", "pages_total", "pages_done", "chunks_total", "chunks_embedded"),
        *("chunks_reused", "page_count", "chunk_count", "seconds"),
    )
) | {"object_name": "alice/garden.txt"}


def test_a_file_without_a_job_is_shown_as_pending() -> None:
    shown = io.StringIO()
    Console(file=shown, width=100).print(progress_table([WITHOUT_A_JOB]))
    (line,) = (line for line in shown.getvalue().splitlines() if "garden.txt" in line)
    assert "pending" in line
