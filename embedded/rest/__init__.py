"""The part of PostgREST that clients of docmill use, under /rest/v1.

For development and tests. Every request is one transaction of the login role authenticator. Role,
claims and settings are set as by PostgREST, so the project's grants and policies decide.
"""

from docmill.embedded.rest.app import METHODS, create_rest
from docmill.embedded.rest.settings import RestSettings

__all__ = ["METHODS", "RestSettings", "create_rest"]
