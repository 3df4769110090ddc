"""The part of Supabase Auth that a page needs to sign in, under /auth/v1.

For development and tests: there is one password for all users, and nobody can sign up.
"""

from docmill.embedded.auth.app import create_auth
from docmill.embedded.auth.settings import AuthSettings
from docmill.embedded.auth.users import install_users

__all__ = ["AuthSettings", "create_auth", "install_users"]
