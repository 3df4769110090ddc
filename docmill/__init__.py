"""docmill: files in Supabase Storage become searchable, access-controlled vectors.

`docmill` is the one name that an installation adds to Python. Its parts lie at the top of the
repository and are linked here, so that they are imported by their full names from the repository
and from an installed wheel alike.
"""

__version__ = "0.1.0"
