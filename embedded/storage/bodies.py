"""JSON bodies: bounded, checked against a model, refused in the words of Storage's validator."""

import json
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from docmill.embedded.storage.errors import StorageError, invalid_request
from docmill.worker.webhook.request_body import read_bounded

#: Fastify's limit for a body that is not a file.
MAX_BODY_BYTES: Final = 1024 * 1024
Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request, model: type[Model]) -> Model:
    """The body as a model. Raises StorageError naming the first property that is wrong."""
    raw = await read_bounded(request, MAX_BODY_BYTES, too_large=_too_large())
    try:
        parsed = json.loads(raw or b"null")
        # What PostgreSQL cannot store in a text: NUL, and half a surrogate pair.
        text = json.dumps(parsed, ensure_ascii=False)
        text.encode()
    except (ValueError, RecursionError):
        raise invalid_request("Body is not valid JSON", error="SyntaxError") from None
    if "\\u0000" in text:
        raise invalid_request("Body contains a NUL character")
    return check(parsed, model, "body")


def check(value: object, model: type[Model], where: str) -> Model:
    """A value as a model. Raises InvalidRequest in the validator's words."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid_request(_explain(error, where), error="Error") from None


def _too_large() -> StorageError:
    return StorageError(
        413,
        "EntityTooLarge",
        "Request body is too large",
        error="FastifyError",
        http_status=413,
    )


def _explain(error: ValidationError, where: str) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    *parents, last = (str(part) for part in first["loc"]) if first["loc"] else ("",)
    if first["type"] == "missing":
        return f"{'/'.join([where, *parents])} must have required property '{last}'"
    return f"{'/'.join([where, *parents, last]).rstrip('/')} is invalid: {first['msg']}"
