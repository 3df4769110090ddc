"""docmill: files in Supabase Storage become searchable, access-controlled vectors.

`docmill` is the one name that an installation adds to Python. The parts are folders at the top of
the repository; links here give each part the same full name in the repository and in an installed
wheel.
"""

from pathlib import Path

__version__ = "0.2.0"

if not (Path(__file__).parent / "worker").is_dir():
    # A clone or an archive without symbolic links has small text files instead.
    raise ImportError(
        "this copy of docmill lacks its symbolic links: git config core.symlinks true, then "
        "git checkout docmill"
    )
