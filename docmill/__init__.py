"""docmill: files in Supabase Storage become searchable, access-controlled vectors.

`docmill` is the one name that an installation adds to Python. Its parts lie at the top of the
repository and are linked here, so that they are imported by their full names from the repository
and from an installed wheel alike.
"""

from pathlib import Path

__version__ = "0.2.0"

if not (Path(__file__).parent / "worker").is_dir():
    # A clone or an archive without symbolic links has small text files instead.
    raise ImportError(
        "this copy of docmill lacks its symbolic links: git config core.symlinks true, then "
        "git checkout docmill"
    )
