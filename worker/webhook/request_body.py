"""Bodies of requests: a stranger decides how much is sent, we how much is kept."""

from starlette.requests import Request


async def read_bounded(request: Request, most_bytes: int, *, too_large: Exception) -> bytes:
    """The body; no more of it is read once it is over the bound. Raises `too_large` then."""
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > most_bytes:
            raise too_large
    return bytes(body)
