"""Uploads through supabase-py: as a user of the embedded mode, or with a project's secret key."""

import hashlib
import mimetypes
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx
from storage3.exceptions import StorageApiError
from supabase import Client, ClientOptions, create_client

from docmill.worker.errors import DocmillError

#: Characters that Storage accepts in a name (supabase/storage, src/storage/limits.ts).
_REFUSED: Final = re.compile(r"[^A-Za-z0-9_/!.*'() &$=@;:+,?-]")
_TIMEOUT_SECONDS: Final = 300
#: Storage accepts a thousand.
_REMOVED_AT_ONCE: Final = 500


class UploadError(DocmillError):
    """Storage refused a file. `code` is Storage's own word for the reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def storage_name(relative_path: str) -> str:
    """A name for a local path that Storage accepts.

    Unchanged if possible. Letters lose their accents, other characters become `_`; then a short
    hash of the original name keeps similar names apart.
    """
    folded = unicodedata.normalize("NFKD", relative_path)
    plain = "".join(c for c in folded if not unicodedata.combining(c))
    safe = _REFUSED.sub("_", plain)
    if safe == relative_path:
        return safe
    mark = hashlib.sha256(relative_path.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    stem, dot, suffix = safe.rpartition(".")
    return f"{stem}-{mark}.{suffix}" if dot and stem else f"{safe}-{mark}"


class Uploader:
    """Uploads files. Each thread needs its own."""

    def __init__(self, supabase_url: str, key: str, *, user_token: str | None) -> None:
        self._url = supabase_url
        self._is_user = user_token is not None
        headers = {"Authorization": f"Bearer {user_token}"} if user_token else {}
        self._client: Client = create_client(
            supabase_url,
            key,
            ClientOptions(headers=headers, storage_client_timeout=_TIMEOUT_SECONDS),
        )

    def upload(self, bucket: str, name: str, path: Path) -> None:
        """Upload a file; replaces the object of this name. Raises UploadError."""
        content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        try:
            self._client.storage.from_(bucket).upload(
                name, path, {"content-type": content_type, "upsert": "true"}
            )
        except StorageApiError as error:
            raise UploadError(str(error.code), self._explained(error)) from None
        except httpx.TransportError as error:
            raise UploadError("upload_failed", self._silent(error)) from None
        except OSError as error:
            raise UploadError("upload_failed", error.strerror or type(error).__name__) from None
        except Exception as error:
            # For example a file that grows while it is sent; the error concerns only this file.
            raise UploadError("upload_failed", f"{type(error).__name__}: {error}") from None

    def remove(self, bucket: str, names: Sequence[str]) -> None:
        """Delete files; missing files are ignored. Raises UploadError."""
        for start in range(0, len(names), _REMOVED_AT_ONCE):
            try:
                self._client.storage.from_(bucket).remove(
                    list(names[start : start + _REMOVED_AT_ONCE])
                )
            except StorageApiError as error:
                raise UploadError(str(error.code), self._explained(error)) from None
            except httpx.TransportError as error:
                raise UploadError("remove_failed", self._silent(error)) from None

    def _silent(self, error: httpx.TransportError) -> str:
        return (
            f"Storage does not answer at {self._url} ({type(error).__name__}): check SUPABASE_URL, "
            "and that this machine reaches it"
        )

    def _explained(self, error: StorageApiError) -> str:
        said = f"Storage says: {error.message}"
        if str(error.status) in ("401", "403") or "JWS" in error.message or "JWT" in error.message:
            if self._is_user:
                return f"{said}: a policy on storage.objects has to let this user write there"
            return f"{said}: set SUPABASE_SECRET_KEY to a secret key of this project"
        if str(error.code) == "NoSuchBucket":
            return f"{said}: make the bucket in the dashboard under Storage"
        return said
