"""The part of PostgREST that readers of tables and callers of functions use, under /rest/v1.

For development and tests. Every request is one transaction, logged in as authenticator, with
role, claims and settings as PostgREST sets them: the project's grants and policies decide.
"""

from docmill.embedded.rest.app import create_rest
from docmill.embedded.rest.settings import RestSettings

__all__ = ["RestSettings", "create_rest"]
