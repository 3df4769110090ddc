"""The Edge Functions that clients of docmill need, `embed` and `ask`.

They embed with the model of the active index version, by default the local one. A real project
deploys the functions in examples/functions; these answer the same requests in the same form.
"""

from docmill.embedded.functions.app import create_functions
from docmill.embedded.functions.own import OwnFunction

__all__ = ["OwnFunction", "create_functions"]
