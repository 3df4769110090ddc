"""Bodies of requests: a stranger decides how much is sent; docmill decides how much is kept."""

from starlette.requests import Request


async def read_bounded(request: Request, most_bytes: int, *, too_large: Exception) -> bytes:
    """The body. Stops reading and raises `too_large` as soon as it exceeds the bound."""
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > most_bytes:
            raise too_large
    return bytes(body)
