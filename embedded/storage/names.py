"""Names of buckets and objects: decoded once, checked like Storage does."""

import re
from typing import Final
from urllib.parse import unquote

from starlette.requests import Request

from docmill.embedded.storage.errors import invalid_bucket_name, invalid_key

_OBJECT_NAME: Final = re.compile(r"[A-Za-z0-9_/!.*'() &$=@;:+,?-]+")
_BUCKET_NAME: Final = re.compile(r"[A-Za-z0-9_!.*'() &$=@;:+,?-]{1,100}")


def check_object_name(name: str) -> str:
    """Return the name. Raises InvalidKey.

    Storage accepts the segments `.` and `..`. But a client's URL library may have removed them
    already, so an object with such a name can often not be reached. Here they are refused.
    """
    if not _OBJECT_NAME.fullmatch(name) or not {".", ".."}.isdisjoint(name.split("/")):
        raise invalid_key(name)
    return name


def check_bucket_name(name: str) -> str:
    """Return the name. Raises InvalidBucketName."""
    if not _BUCKET_NAME.fullmatch(name):
        raise invalid_bucket_name()
    return name


def bucket_of(request: Request) -> str:
    """The bucket in the path."""
    return check_bucket_name(_decode(request.path_params["bucket"]))


def object_of(request: Request) -> str:
    """The object in the path, not yet checked: Storage looks for the bucket first."""
    return _decode(request.path_params["name"])


def _decode(encoded: str) -> str:
    # The app routes the undecoded path, so this is the only decoding: `%2F` in a bucket's name is a
    # slash in that name and no separator, `%252e` is the text `%2e`.
    try:
        return unquote(encoded, errors="strict")
    except UnicodeDecodeError:
        raise invalid_key(encoded) from None
