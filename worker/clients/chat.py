"""Answers of a model, from any server that speaks OpenAI's chat API."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from docmill.worker.errors import AskError
from docmill.worker.grounding import PROMPTS, Message
from docmill.worker.log import get_logger

log = get_logger(__name__)

#: What a step before the answer may take: without it the answer is a little worse.
STEP_SECONDS: Final = 15.0


@dataclass(frozen=True)
class ChatServer:
    """Where the model is asked. The key stays out of the repr."""

    base_url: str
    model: str | None
    api_key: str | None = field(default=None, repr=False)
    timeout_seconds: float = 100


class ChatClient:
    """Asks one model. Raises AskError, of a code that starts with `chat_`."""

    def __init__(self, server: ChatServer) -> None:
        """Raises AskError `not_configured` where no model is named."""
        if not server.model:
            raise AskError(503, "not_configured", "no chat model is set: DOCMILL_CHAT_MODEL")
        self._server = server

    async def stream(self, messages: Sequence[Message]) -> AsyncIterator[tuple[str, bool]]:
        """Pieces of the text as they are written, and whether the answer was cut by its limit.

        Closing the iterator ends the call.
        """
        try:
            async with asyncio.timeout(self._server.timeout_seconds):
                async for piece in self._pieces(messages):
                    yield piece
        except TimeoutError:
            raise AskError(504, "chat_timeout", "the chat server took too long") from None
        except httpx.HTTPError as error:
            log.warning("chat_unavailable", error=type(error).__name__)
            raise AskError(502, "chat_unavailable", "the chat server did not answer") from None
        except (ValueError, AttributeError, TypeError, LookupError):
            message = "the chat server did not answer as OpenAI does"
            raise AskError(502, "chat_invalid", message) from None

    async def complete(self, messages: Sequence[Message]) -> str:
        """The whole text of a short step; empty where the model does not write it."""
        try:
            async with asyncio.timeout(STEP_SECONDS), self._http() as http:
                answer = await http.post(self._url, json=self._body(messages, stream=False))
                answer.raise_for_status()
                text = answer.json()["choices"][0]["message"]["content"]
                return text if isinstance(text, str) else ""
        except (TimeoutError, httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            log.warning("question_not_rewritten", error=type(error).__name__)
            return ""

    async def _pieces(self, messages: Sequence[Message]) -> AsyncIterator[tuple[str, bool]]:
        length, finish = 0, None
        async with (
            self._http() as http,
            http.stream("POST", self._url, json=self._body(messages, stream=True)) as answer,
        ):
            _check_status(answer.status_code)
            async for line in answer.aiter_lines():
                event = _event_of(line)
                if event is None:
                    continue
                text, finished = _delta_of(event)
                length += len(text)
                if length > PROMPTS.answer_characters:
                    yield "", True
                    return
                if text:
                    yield text, False
                finish = finished or finish
        if finish is None:
            raise AskError(502, "chat_interrupted", "the chat server broke off")
        if finish == "length":
            yield "", True

    @property
    def _url(self) -> str:
        return f"{self._server.base_url.rstrip('/')}/chat/completions"

    def _http(self) -> httpx.AsyncClient:
        key = self._server.api_key
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(headers=headers, timeout=self._server.timeout_seconds)

    def _body(self, messages: Sequence[Message], *, stream: bool) -> dict[str, Any]:
        # OpenAI's newer models refuse the name that all others know.
        is_openai = urlsplit(self._server.base_url).hostname == "api.openai.com"
        limit = "max_completion_tokens" if is_openai else "max_tokens"
        return {
            "model": self._server.model,
            "messages": list(messages),
            "stream": stream,
            limit: PROMPTS.answer_tokens,
        }


def _check_status(status: int) -> None:
    if status == 429:
        raise AskError(429, "chat_busy", "the chat server is busy: try again")
    if status != 200:
        raise AskError(502, "chat_refused", f"the chat server answered {status}")


def _event_of(line: str) -> Mapping[str, Any] | None:
    if not line.startswith("data:") or line[5:].strip() == "[DONE]":
        return None
    event = json.loads(line[5:])
    if event.get("error"):
        raise AskError(502, "chat_interrupted", "the chat server broke off")
    return dict(event)


def _delta_of(event: Mapping[str, Any]) -> tuple[str, str | None]:
    """The text of an event, and why the answer ends with it."""
    choices = event.get("choices") or [{}]
    text = (choices[0].get("delta") or {}).get("content")
    return text if isinstance(text, str) else "", choices[0].get("finish_reason")
