"""`docmill extract`, which needs no service."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.integration.extraction import documents


def run(folder: Path, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run it in a folder, without settings and without a stack."""
    done = subprocess.run(
        [sys.executable, "-m", "docmill", "extract", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_elements_and_a_summary_are_shown(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(documents.make_pdf(["The first page.", ""], title="Notes"))
    shown = run(tmp_path, "a.pdf").stdout
    assert "NarrativeText, page 1\n    The first page.\n" in shown
    assert "application/pdf; title 'Notes'; 2 pages; without text: 2\n" in shown


def test_chunks_as_json(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Head\n\nBody of it, with a zero-width\u200b space.\n")
    *chunks, summary = lines_of(run(tmp_path, "a.md", "--chunks", "--json").stdout)
    assert [(chunk["headings"], chunk["page_start"]) for chunk in chunks] == [(["Head"], None)]
    assert summary == {
        "mime_type": "text/markdown",
        "title": None,
        "page_count": None,
        "unread_pages": [],
        "hidden_characters": 1,
        "uncomputed_formulas": 0,
    }


def test_what_cannot_be_read_has_its_code_and_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7\nnothing of one")
    done = run(tmp_path, "a.pdf", "--json", code=1)
    (row,) = lines_of(done.stdout)
    assert row["error_code"] == "corrupt"
    assert row["remedy"].startswith("Open and save it again")
    assert done.stderr.startswith("docmill: a.pdf: corrupt")


def test_an_empty_file_and_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" \n")
    assert "empty_document" in run(tmp_path, "a.txt", code=1).stderr
    assert "does not exist" in run(tmp_path, "b.txt", code=2).stderr
