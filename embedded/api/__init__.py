"""The server that supabase-js and supabase-py talk to in the embedded mode.

One address, SUPABASE_URL, for the parts of Storage, PostgREST and Auth that docmill's users need.
For development and tests only; docs/embedded.md says what it leaves out.
"""

from docmill.embedded.api.server import ApiServer, start_api
from docmill.embedded.api.settings import ApiSettings, EmbeddingKeys
from docmill.embedded.functions import OwnFunction

__all__ = ["ApiServer", "ApiSettings", "EmbeddingKeys", "OwnFunction", "start_api"]
