"""Storage's error answers, text for text.

Statuses, codes and messages are those of supabase/storage 4fa61fb (src/internal/errors,
src/storage/database/errors.ts, src/http/error-handler.ts), because clients branch on them.
"""

from collections.abc import Callable
from typing import Final

import psycopg
from psycopg_pool import PoolTimeout
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from docmill.worker.log import get_logger

log = get_logger(__name__)


class StorageError(Exception):
    """A refusal. The body carries the real status; on the wire nearly all of them are 400.

    Only 500 keeps its status there, and what is raised with an `http_status` of its own.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        error: str | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.body = {
            "statusCode": str(status),
            "error": error or code,
            "message": message,
            "code": code,
        }
        self.http_status = http_status or (500 if status == 500 else 400)


class BytesMissingError(Exception):
    """A row names bytes that are not on disk."""


def no_such_bucket() -> StorageError:
    """The bucket is absent, or the caller may not know that it exists."""
    return StorageError(404, "NoSuchBucket", "Bucket not found", error="Bucket not found")


def no_such_key() -> StorageError:
    """The object is absent, or the caller may not see it."""
    return StorageError(404, "NoSuchKey", "Object not found", error="not_found")


def already_exists(code: str) -> StorageError:
    """KeyAlreadyExists, BucketAlreadyExists or ResourceAlreadyExists."""
    return StorageError(409, code, "The resource already exists", error="Duplicate")


def access_denied(message: str, *, http_status: int | None = None) -> StorageError:
    """The token or a policy says no."""
    return StorageError(403, "AccessDenied", message, error="Unauthorized", http_status=http_status)


def invalid_key(name: str) -> StorageError:
    """The object's name holds a character that Storage does not accept."""
    return StorageError(400, "InvalidKey", f"Invalid key: {name}")


def invalid_bucket_name() -> StorageError:
    """The bucket's name is empty, too long or holds a character that is not accepted."""
    return StorageError(400, "InvalidBucketName", "Bucket name invalid", error="Invalid Input")


def invalid_request(message: str, *, error: str = "InvalidRequest") -> StorageError:
    """The request as a whole makes no sense."""
    return StorageError(400, "InvalidRequest", message, error=error)


def invalid_mime_type(mime_type: str) -> StorageError:
    """The bucket does not accept this media type."""
    return StorageError(
        415,
        "InvalidMimeType",
        f"mime type {mime_type} is not supported",
        error="invalid_mime_type",
    )


def too_large(entity: str = "object") -> StorageError:
    """More bytes than the bucket or the project accepts."""
    return StorageError(
        413,
        "EntityTooLarge",
        f"The {entity} exceeded the maximum allowed size",
        error="Payload too large",
    )


def invalid_range() -> StorageError:
    """The Range header asks for bytes that are not there."""
    return StorageError(
        416, "InvalidRange", "invalid range provided", error="invalid_range", http_status=416
    )


def _database_timeout(_error: psycopg.Error) -> StorageError:
    message = "The connection to the database timed out"
    return StorageError(544, "DatabaseTimeout", message, http_status=544)


def _denied(error: psycopg.Error) -> StorageError:
    message = error.diag.message_primary or ""
    if "row-level security" in message:
        message = "new row violates row-level security policy"
    return access_denied(message)


def _foreign_key(error: psycopg.Error) -> StorageError:
    if "is still referenced from table" in (error.diag.message_detail or ""):
        message = "The resource could not be updated or removed due to a foreign key constraint"
        return StorageError(409, "ResourceReferenced", message)
    return StorageError(404, "InvalidRequest", "The related resource does not exist")


def _schema_mismatch(error: psycopg.Error) -> StorageError:
    message = "The database schema is out of sync. Please run migrations or contact support."
    if error.diag.internal_query and error.diag.internal_position:
        message = (
            f"There is a database schema mismatch in a trigger or RLS policy: {error.diag.context}"
        )
    return StorageError(503, "DatabaseSchemaMismatch", message)


def _bad_value(error: psycopg.Error) -> StorageError:
    message = error.diag.message_primary or "Invalid value format or type conversion failed"
    return StorageError(400, "InvalidParameter", message)


_BY_SQLSTATE: Final[dict[str, Callable[[psycopg.Error], StorageError]]] = {
    "42501": _denied,
    "23505": lambda _: already_exists("ResourceAlreadyExists"),
    "23503": _foreign_key,
    "55P03": lambda _: StorageError(423, "ResourceLocked", "The resource is locked"),
    "57014": _database_timeout,
    "22P02": _bad_value,
    "22P05": _bad_value,
    "42703": _schema_mismatch,
    "42P01": _schema_mismatch,
    "42P17": lambda _: StorageError(
        503,
        "DatabaseInvalidObjectDefinition",
        "The database schema is invalid or incompatible.",
    ),
    "53300": lambda _: StorageError(
        429,
        "SlowDown",
        "Too many connections issued to the database",
        error="too_many_connections",
        http_status=429,
    ),
}


def from_database(error: psycopg.Error) -> StorageError:
    """What a client is told about an error of the database, a trigger's or a policy's too."""
    if isinstance(error, PoolTimeout):
        return _database_timeout(error)
    if error.sqlstate is None:
        # No server said it: the connection broke, or the value cannot be sent (a NUL in a text).
        return (
            _bad_value(error) if isinstance(error, psycopg.DataError) else _database_timeout(error)
        )
    translate = _BY_SQLSTATE.get(error.sqlstate)
    if translate is not None:
        return translate(error)
    return StorageError(500, "DatabaseError", f"database error, code: {error.sqlstate}")


def answer(error: Exception) -> Response:
    """The answer to a request that failed. What was not foreseen is logged and told to nobody."""
    if isinstance(error, psycopg.Error):
        error = from_database(error)
    if isinstance(error, StorageError):
        return JSONResponse(error.body, error.http_status)
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)  # nobody reads it
    if isinstance(error, BytesMissingError):
        log.error("object_bytes_missing")
    else:
        log.error("storage_request_failed", exc_info=error)
    internal = StorageError(500, "InternalError", "Internal Server Error", error="Internal")
    return JSONResponse(internal.body, internal.http_status)


def route_not_found(method: str, path: str) -> Response:
    """The answer to a path or method that Storage does not have."""
    error = StorageError(
        404,
        "InvalidRequest",
        f"Route {method}:{path} not found",
        error="Not Found",
        http_status=404,
    )
    return JSONResponse(error.body, error.http_status)
