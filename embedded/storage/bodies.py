"""JSON bodies: limited in size, checked against a model, with the errors of Storage's validator."""

import json
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from docmill.embedded.storage.errors import invalid_request, too_large
from docmill.worker.webhook.request_body import read_bounded

#: Fastify's limit for a body that is not a file.
MAX_BODY_BYTES: Final = 1024 * 1024
Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request, model: type[Model]) -> Model:
    """The body as a model. Raises StorageError naming the first property that is wrong."""
    raw = await read_bounded(request, MAX_BODY_BYTES, too_large=too_large("body"))
    try:
        parsed = json.loads(raw or b"null")
        # PostgreSQL cannot store NUL or half a surrogate pair in a text.
        text = json.dumps(parsed, ensure_ascii=False)
        text.encode()
    except (ValueError, RecursionError):
        raise invalid_request("Body is not valid JSON") from None
    if "\\u0000" in text:
        raise invalid_request("Body contains a NUL character")
    try:
        return model.model_validate(parsed)
    except ValidationError as error:
        raise invalid_request(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = "/".join(["body", *map(str, first["loc"])])
    if first["type"] == "missing":
        return f"body must have required property '{first['loc'][-1]}'"
    return f"{place} is invalid: {first['msg']}"
