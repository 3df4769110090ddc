"""Answers of a model, from any server with OpenAI's chat API."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import openai

from docmill.worker.errors import AskError
from docmill.worker.grounding import PROMPTS, Message
from docmill.worker.log import get_logger

log = get_logger(__name__)

#: The time limit of a step before the answer; without this step the answer is a little worse.
STEP_SECONDS: Final = 15.0
#: Bytes of a line of an answer. An event of a few words has some hundred.
_LINE_BYTES: Final = 1_000_000
#: For servers that need no key.
_WITHOUT_KEY: Final[Any] = {"Authorization": openai.Omit()}


@dataclass(frozen=True)
class ChatServer:
    """The address of the model. The key is left out of the repr."""

    base_url: str
    model: str | None
    api_key: str | None = field(default=None, repr=False)
    timeout_seconds: float = 100


class ChatClient:
    """Calls one model. Raises AskError with a code that starts with `chat_`."""

    def __init__(self, server: ChatServer) -> None:
        """Raises AskError `not_configured` if no model is named."""
        if not server.model:
            raise AskError(503, "not_configured", "no chat model is set: DOCMILL_CHAT_MODEL")
        self._server = server

    async def stream(self, messages: Sequence[Message]) -> AsyncIterator[tuple[str, bool]]:
        """Pieces of the text as they are written, and whether the answer was cut at its limit.

        Closing the iterator ends the call.
        """
        try:
            async with asyncio.timeout(self._server.timeout_seconds):
                async for piece in self._pieces(messages):
                    yield piece
        except (TimeoutError, openai.APITimeoutError, httpx2.TimeoutException):
            raise AskError(504, "chat_timeout", "the chat server took too long") from None
        except openai.APIStatusError as error:
            raise _refused(error.status_code) from None
        except openai.APIConnectionError as error:
            log.warning("chat_unavailable", error=type(error).__name__)
            raise AskError(502, "chat_unavailable", "the chat server did not answer") from None
        except openai.APIError:  # an error in the middle of an answer
            raise _broken_off() from None
        except (ValueError, AttributeError, TypeError, LookupError, RecursionError):
            message = "the chat server did not answer as OpenAI does"
            raise AskError(502, "chat_invalid", message) from None

    async def complete(self, messages: Sequence[Message]) -> str:
        """The whole text of a short step; empty if the model fails."""
        try:
            async with asyncio.timeout(STEP_SECONDS), self._client() as client:
                answer = await client.chat.completions.create(
                    **self._request(messages), stream=False
                )
                text = answer.choices[0].message.content
                return text if isinstance(text, str) else ""
        except (
            *(TimeoutError, openai.OpenAIError, httpx2.HTTPError),
            *(ValueError, LookupError, TypeError, AttributeError, RecursionError),
        ) as error:
            log.warning("question_not_rewritten", error=type(error).__name__)
            return ""

    async def _pieces(self, messages: Sequence[Message]) -> AsyncIterator[tuple[str, bool]]:
        length, finish = 0, None
        async with self._client() as client:
            answer = await client.chat.completions.create(**self._request(messages), stream=True)
            async for event in _unbroken(answer):
                text, finished = _delta_of(event)
                length += len(text)
                if length > PROMPTS.answer_characters:
                    yield "", True
                    return
                if text:
                    yield text, False
                finish = finished or finish
        if finish is None:
            raise _broken_off()
        if finish == "length":
            yield "", True

    def _client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            # Otherwise the library would take OPENAI_API_KEY, which is for embeddings.
            api_key=self._server.api_key or "none",
            base_url=self._server.base_url,
            timeout=self._server.timeout_seconds,
            # No retries: the user has already seen part of the answer.
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [_bound]}),
        )

    def _request(self, messages: Sequence[Message]) -> dict[str, Any]:
        # OpenAI's newer models refuse the field name that all other models accept.
        is_openai = urlsplit(self._server.base_url).hostname == "api.openai.com"
        limit = "max_completion_tokens" if is_openai else "max_tokens"
        return {
            "model": self._server.model,
            "messages": list(messages),
            limit: PROMPTS.answer_tokens,
            "extra_headers": None if self._server.api_key else _WITHOUT_KEY,
        }


class _BoundedLines(httpx2.AsyncByteStream):
    """An answer's bytes. Raises ValueError in a line without end, which would fill the memory."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        length = 0
        async for block in self._stream:
            _, newline, rest = block.rpartition(b"\n")
            length = len(rest) if newline else length + len(block)
            if length > _LINE_BYTES:
                raise ValueError("an endless line")
            yield block

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(response: httpx2.Response) -> None:
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _BoundedLines(response.stream)


async def _unbroken(events: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The events of an answer. Raises AskError `chat_interrupted` if the connection breaks."""
    try:
        async for event in events:
            yield event
    except (openai.APITimeoutError, httpx2.TimeoutException):
        raise
    except (openai.APIConnectionError, httpx2.HTTPError):
        raise _broken_off() from None


def _broken_off() -> AskError:
    return AskError(502, "chat_interrupted", "the chat server broke off")


def _refused(status: int) -> AskError:
    if status == 429:
        return AskError(429, "chat_busy", "the chat server is busy: try again")
    return AskError(502, "chat_refused", f"the chat server answered {status}")


def _delta_of(event: Any) -> tuple[str, str | None]:
    """The text of an event, and the reason if the answer ends with it."""
    if not event.choices:
        return "", None
    choice = event.choices[0]
    text = choice.delta.content if choice.delta else None
    finish = choice.finish_reason
    return text if isinstance(text, str) else "", finish if isinstance(finish, str) else None
