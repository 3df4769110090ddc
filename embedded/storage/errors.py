"""Storage's error answers, text for text.

Statuses, codes and messages are those of supabase/storage 4fa61fb (src/internal/errors,
src/storage/database/errors.ts, src/http/error-handler.ts), because clients branch on them.
"""

import psycopg
from psycopg_pool import PoolTimeout
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from docmill.worker.log import get_logger

log = get_logger(__name__)


class StorageError(Exception):
    """A refusal. The body has the real status; the HTTP status of nearly all refusals is 400.

    Only 500, and errors with an `http_status` of their own, keep their status.
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
    """The bucket does not exist, or the caller may not know that it exists."""
    return StorageError(404, "NoSuchBucket", "Bucket not found", error="Bucket not found")


def no_such_key() -> StorageError:
    """The object does not exist, or the caller may not see it."""
    return StorageError(404, "NoSuchKey", "Object not found", error="not_found")


def already_exists(code: str) -> StorageError:
    """KeyAlreadyExists, BucketAlreadyExists or ResourceAlreadyExists."""
    return StorageError(409, code, "The resource already exists", error="Duplicate")


def access_denied(message: str) -> StorageError:
    """The token or a policy denies access."""
    return StorageError(403, "AccessDenied", message, error="Unauthorized")


def invalid_key(name: str) -> StorageError:
    """The object's name contains a character that Storage does not accept."""
    return StorageError(400, "InvalidKey", f"Invalid key: {name}")


def invalid_bucket_name() -> StorageError:
    """The bucket's name is empty, too long or contains a character that is not accepted."""
    return StorageError(400, "InvalidBucketName", "Bucket name invalid", error="Invalid Input")


def invalid_request(message: str) -> StorageError:
    """The request as a whole is not valid."""
    return StorageError(400, "InvalidRequest", message, error="Error")


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
    message = f"The {entity} exceeded the maximum allowed size"
    return StorageError(413, "EntityTooLarge", message, error="Payload too large")


def from_database(error: psycopg.Error) -> StorageError:
    """The client's answer for an error of the database, also of a trigger or a policy."""
    message = error.diag.message_primary or ""
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        if "row-level security" in message:
            message = "new row violates row-level security policy"
        return access_denied(message)
    if isinstance(error, psycopg.errors.UniqueViolation):
        return already_exists("ResourceAlreadyExists")
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return StorageError(423, "ResourceLocked", "The resource is locked")
    if isinstance(error, psycopg.DataError):  # for example a NUL in a text
        return StorageError(400, "InvalidParameter", message or "Invalid value format")
    if isinstance(error, PoolTimeout | psycopg.errors.QueryCanceled) or error.sqlstate is None:
        message = "The connection to the database timed out"
        return StorageError(544, "DatabaseTimeout", message, http_status=544)
    return StorageError(500, "DatabaseError", f"database error, code: {error.sqlstate}")


def answer(error: Exception) -> Response:
    """Answer a failed request. Unexpected errors are logged, and the client gets no details."""
    if isinstance(error, psycopg.Error):
        error = from_database(error)
    if isinstance(error, StorageError):
        return JSONResponse(error.body, error.http_status)
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)  # the client is gone
    if isinstance(error, BytesMissingError):
        log.error("object_bytes_missing")
    else:
        log.error("storage_request_failed", exc_info=error)
    internal = StorageError(500, "InternalError", "Internal Server Error", error="Internal")
    return JSONResponse(internal.body, internal.http_status)


def route_not_found(request: Request, _status: int) -> StorageError:
    """The path or method does not exist."""
    message = f"Route {request.method}:{request.url.path} not found"
    return StorageError(404, "InvalidRequest", message, error="Not Found", http_status=404)
