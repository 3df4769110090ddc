"""`docmill mcp`."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from docmill.cli.context import project_settings, running_stack
from docmill.embedded.stack import DEFAULT_OWNER
from docmill.worker.errors import ServiceError, SettingsError
from docmill.worker.log import configure_logging
from docmill.worker.settings.processes import McpSettings

if TYPE_CHECKING:
    import httpx

    from docmill.mcp.tokens import TokenSource


def mcp(*, over_http: bool) -> int:
    """Serve until the input ends, or with HTTP until a signal."""
    if find_spec("mcp") is None:
        raise ServiceError("the MCP SDK is not installed: install docmill with the extra mcp")
    settings = project_settings(McpSettings)
    configure_logging(log_format=settings.log_format, level=settings.log_level)
    from docmill.mcp.project import open_project
    from docmill.mcp.server import create_app, run_stdio
    from docmill.worker.processes.serving import serve

    key = _public_key(settings)
    http = open_project(settings.require("supabase_url"), key)
    if not over_http:
        return run_stdio(http, _tokens(settings, http))
    app = create_app(http, url=settings.mcp_url)
    return serve(app, host=settings.mcp_host, port=settings.mcp_port, request_seconds=30)


def _public_key(settings: McpSettings) -> str:
    key = settings.require("supabase_publishable_key")
    if key.startswith("sb_secret_"):
        raise SettingsError(
            "SUPABASE_PUBLISHABLE_KEY is a secret key: docmill mcp reads as a user, and must "
            "not have a key that bypasses row-level security"
        )
    return key


def _tokens(settings: McpSettings, http: "httpx.AsyncClient") -> "TokenSource":
    """The tokens of the user for stdio; on the embedded stack its default user, if none is set."""
    from docmill.mcp.tokens import FixedToken, Session, claims_of

    if settings.mcp_refresh_token is not None or settings.mcp_session_file is not None:
        given, file = settings.mcp_refresh_token, settings.mcp_session_file
        if file is not None and not file.parent.is_dir():
            raise SettingsError(f"DOCMILL_MCP_SESSION_FILE: there is no folder {file.parent}")
        return Session(
            http,
            refresh_token=given.get_secret_value() if given is not None else None,
            file=file,
        )
    if settings.mcp_access_token is None:
        return _embedded_user()
    token = settings.mcp_access_token.get_secret_value()
    if claims_of(token) is None:
        raise SettingsError(
            "DOCMILL_MCP_ACCESS_TOKEN is not the access token of a signed-in user; a key of the "
            "project does not work here"
        )
    return FixedToken(token)


def _embedded_user() -> "TokenSource":
    stack = running_stack()
    if stack is None:
        raise SettingsError(
            "set DOCMILL_MCP_ACCESS_TOKEN or DOCMILL_MCP_REFRESH_TOKEN, to say for which user "
            "docmill mcp reads"
        )
    from docmill.embedded.tokens import user_token
    from docmill.mcp.tokens import Minted

    return Minted(lambda: user_token(stack, DEFAULT_OWNER))
