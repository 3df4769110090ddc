"""The objects that every request function gets: settings, database, bytes, keys."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from docmill.embedded.storage.auth import Authenticator, Caller
from docmill.embedded.storage.bytes_store import ByteStore
from docmill.embedded.storage.database import Scope, StorageDatabase
from docmill.embedded.storage.settings import StorageSettings


@dataclass(frozen=True)
class StorageService:
    """The parts of one running stand-in."""

    settings: StorageSettings
    database: StorageDatabase
    store: ByteStore
    auth: Authenticator

    def scope(self, request: Request, operation: str) -> Scope:
        """The scope of a request, with its caller. Raises StorageError for a bad token."""
        return scope_of(request, operation, self.auth.identify(request.headers))


Handler = Callable[[StorageService, Request], Awaitable[Response]]


def scope_of(request: Request, operation: str, caller: Caller) -> Scope:
    """The facts about a request that the database gets.

    API keys are left out; a user's token is included, because the project's own triggers may read
    it.
    """
    hidden = {"apikey", "cookie"} if caller.token else {"apikey", "cookie", "authorization"}
    headers = {name: value for name, value in request.headers.items() if name not in hidden}
    return Scope(caller, operation, request.method, request.url.path, headers)
