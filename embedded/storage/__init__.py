"""A stand-in for Supabase Storage, for development and tests. Never for production.

It answers the routes that clients of docmill use, runs every statement as the caller under the
project's own policies, keeps Storage's order of events, and does the work of pg_net's worker for
Database Webhooks. If the machine loses power, bytes may be lost.
"""

from docmill.embedded.storage.app import create_storage
from docmill.embedded.storage.settings import StorageSettings
from docmill.embedded.storage.webhooks import install_webhook

__all__ = ["StorageSettings", "create_storage", "install_webhook"]
