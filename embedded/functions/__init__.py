"""The one Edge Function that clients of docmill need: `embed`, with the local model.

A project deploys examples/functions/embed, which asks its provider; this answers the same requests
in the same form.
"""

from docmill.embedded.functions.app import create_functions

__all__ = ["create_functions"]
