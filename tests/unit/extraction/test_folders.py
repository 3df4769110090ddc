"""A child's folder is removed with everything in it."""

import os
from pathlib import Path

from docmill.worker.extraction.parent.folders import PrivateFolders


def test_a_folder_is_removed_however_deep_and_closed_it_is(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    (outside / "kept").write_text("x")
    folders = PrivateFolders(tmp_path)
    child, here = folders.make(), Path.cwd()
    try:
        os.chdir(child)
        for _ in range(3000):
            Path("link").symlink_to(outside)
            Path("d").mkdir(0o300)
            os.chdir("d")
    finally:
        os.chdir(here)
    folders.remove(child)
    assert [path.name for path in folders.root.iterdir()] == ["lock"]
    folders.close()
    assert not folders.root.exists()
    assert (outside / "kept").read_text() == "x"


def test_closing_removes_what_children_left(tmp_path: Path) -> None:
    folders = PrivateFolders(tmp_path)
    (folders.make() / "closed").mkdir(0)
    folders.make().chmod(0)
    folders.close()
    assert list(tmp_path.iterdir()) == []
