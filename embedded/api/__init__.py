"""The server that supabase-js and supabase-py talk to in the embedded mode.

It serves the parts of Storage, PostgREST and Auth that docmill's users need, at one address,
SUPABASE_URL. For development and tests only; docs/embedded.md says what is missing.
"""

from docmill.embedded.api.server import ApiServer, start_api
from docmill.embedded.api.settings import ApiSettings, EmbeddingKeys
from docmill.embedded.functions import OwnFunction

__all__ = ["ApiServer", "ApiSettings", "EmbeddingKeys", "OwnFunction", "start_api"]
