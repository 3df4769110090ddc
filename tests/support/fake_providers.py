"""A server for each form of request of the providers: it parses, answers and refuses."""

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from tests.support.fake_openai import Answer, Raw, embeddings, vector_of

DIMENSIONS = 8


class Form(ABC):
    """The requests and answers of one provider, as in its documentation."""

    #: How to reach the fake; `URL` is replaced by the base URL.
    access: ClassVar[Mapping[str, str]]
    #: The end of the path of a request for embeddings.
    path: str
    #: Names in its answers, for tests that change them.
    names: tuple[str, ...]
    #: Error answers: status, body, and docmill's code for them.
    refusals: tuple[tuple[int, Any, str], ...]

    @abstractmethod
    def texts(self, body: Any) -> list[str]:
        """The texts of a request."""

    @abstractmethod
    def answer(self, texts: list[str], dimensions: int = DIMENSIONS) -> Any:
        """The correct answer."""

    def answer_to(self, body: Any) -> Any:
        """The correct answer to a request, with numbers in the requested form."""
        return self.answer(self.texts(body))

    @abstractmethod
    def items(self, answer: Any) -> list[Any]:
        """The part of an answer with an item for each text."""

    @abstractmethod
    def put(self, answer: Any, index: int, embedding: object) -> None:
        """Change the embedding of one text."""

    @abstractmethod
    def count(self, answer: Any, tokens: object) -> None:
        """Change the billed tokens in the answer."""


class OpenAIForm(Form):
    access: ClassVar[Mapping[str, str]] = {"base_url": "URL/v1", "api_key": "sk-canary"}
    path: str = "/v1/embeddings"
    names = ("data", "index", "embedding", "usage", "total_tokens", "object", "x")
    refusals: tuple[tuple[int, Any, str], ...] = tuple(
        (status, {"error": {"message": "no", "type": "error", "code": word}}, code)
        for status, word, code in (
            (429, "rate_limit_exceeded", "rate_limited"),
            (429, "slow_down", "rate_limited"),
            (429, "insufficient_quota", "provider_quota_exhausted"),
            (429, "credit_balance_exhausted", "provider_quota_exhausted"),
            (429, "organization_spend_limit_exceeded", "provider_quota_exhausted"),
            (429, "project_spend_limit_exceeded", "provider_quota_exhausted"),
            (429, "organization_usage_limit_exceeded", "provider_quota_exhausted"),
            (400, "invalid_request_error", "embedding_rejected"),
            (401, "invalid_api_key", "provider_auth"),
            (404, "model_not_found", "provider_model_missing"),
        )
    )

    def texts(self, body: Any) -> list[str]:
        return [body["input"]] if isinstance(body["input"], str) else body["input"]

    def answer(self, texts: list[str], dimensions: int = DIMENSIONS) -> Any:
        return embeddings(texts, dimensions)

    def answer_to(self, body: Any) -> Any:
        encoding = body.get("encoding_format", "float")
        return embeddings(self.texts(body), DIMENSIONS, encoding)

    def items(self, answer: Any) -> list[Any]:
        found: list[Any] = answer["data"]
        return found

    def put(self, answer: Any, index: int, embedding: object) -> None:
        answer["data"][index]["embedding"] = embedding

    def count(self, answer: Any, tokens: object) -> None:
        answer["usage"] = (
            tokens if not isinstance(tokens, int | float) else {"total_tokens": tokens}
        )


class AzureForm(OpenAIForm):
    access: ClassVar[Mapping[str, str]] = {
        "base_url": "URL",
        "api_key": "sk-canary",
        "api_version": "2024-10-21",
    }
    path = "/openai/deployments/a%20model/embeddings?api-version=2024-10-21"
    refusals = (
        (404, {"error": {"code": "DeploymentNotFound", "message": "no"}}, "provider_model_missing"),
        (401, {"error": {"code": "401", "message": "Access denied"}}, "provider_auth"),
        (429, {"error": {"code": "429", "message": "Requests exceed"}}, "rate_limited"),
        (429, {"error": {"code": "insufficient_quota"}}, "provider_quota_exhausted"),
        (400, {"error": {"code": None, "message": "no"}}, "embedding_rejected"),
    )


class CompatibleForm(OpenAIForm):
    access: ClassVar[Mapping[str, str]] = {"base_url": "URL/v1"}
    refusals = (
        (413, {"error": "too long", "error_type": "validation"}, "embedding_rejected"),  # TEI
        (429, {"error": "Model is overloaded", "error_type": "overloaded"}, "rate_limited"),
        (404, {"error": {"message": "no", "type": "NotFoundError"}}, "provider_model_missing"),
        (424, {"error": "Inference failed", "error_type": "backend"}, "provider_unavailable"),
    )


class VoyageForm(OpenAIForm):
    refusals = (
        (400, {"detail": "Model x is not supported. Supported are ..."}, "provider_model_missing"),
        (400, {"detail": "The request is too large"}, "embedding_rejected"),
        (400, {"detail": ["Model x is not supported"]}, "embedding_rejected"),
        (401, {"detail": "Provided API key is invalid."}, "provider_auth"),
        (429, {"detail": "You have exceeded your rate limit"}, "rate_limited"),
    )


class CohereForm(Form):
    access: ClassVar[Mapping[str, str]] = {"base_url": "URL", "api_key": "sk-canary"}
    path = "/v2/embed"
    names = ("embeddings", "float", "meta", "billed_units", "input_tokens", "id", "x")
    refusals = (
        (400, {"message": "invalid request: texts"}, "embedding_rejected"),
        (401, {"message": "invalid api token"}, "provider_auth"),
        (402, {"message": "Please add a payment method"}, "provider_quota_exhausted"),
        (404, {"message": "model 'x' not found"}, "provider_model_missing"),
        (429, {"message": "limited to 40 API calls / minute"}, "rate_limited"),
        (429, {"message": "limited to 1000 API calls / month"}, "provider_quota_exhausted"),
        (429, ["month"], "rate_limited"),
        (498, {"message": "invalid token"}, "provider_auth"),
        (499, {"message": "closed"}, "provider_unavailable"),
    )

    def texts(self, body: Any) -> list[str]:
        found: list[str] = body["texts"]
        return found

    def answer(self, texts: list[str], dimensions: int = DIMENSIONS) -> Any:
        return {
            "id": "1",
            "embeddings": {"float": [vector_of(text, dimensions).tolist() for text in texts]},
            "texts": list(texts),
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 4}},
        }

    def items(self, answer: Any) -> list[Any]:
        found: list[Any] = answer["embeddings"]["float"]
        return found

    def put(self, answer: Any, index: int, embedding: object) -> None:
        answer["embeddings"]["float"][index] = embedding

    def count(self, answer: Any, tokens: object) -> None:
        answer["meta"]["billed_units"] = {"input_tokens": tokens}


class GeminiForm(Form):
    access: ClassVar[Mapping[str, str]] = {"base_url": "URL/v1beta", "api_key": "sk-canary"}
    path = "/v1beta/models/a%20model:batchEmbedContents"
    names = ("embeddings", "values", "usageMetadata", "promptTokenCount", "x")
    refusals = (
        (
            400,
            {
                "error": {
                    "code": 400,
                    "status": "INVALID_ARGUMENT",
                    "details": [{"reason": "API_KEY_INVALID", "domain": "googleapis.com"}],
                }
            },
            "provider_auth",
        ),
        (400, {"error": {"code": 400, "status": "INVALID_ARGUMENT"}}, "embedding_rejected"),
        (400, {"error": {"status": "FAILED_PRECONDITION"}}, "provider_quota_exhausted"),
        (403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}}, "provider_auth"),
        (404, {"error": {"code": 404, "status": "NOT_FOUND"}}, "provider_model_missing"),
        (429, {"error": {"status": "RESOURCE_EXHAUSTED", "details": [7]}}, "rate_limited"),
        (503, {"error": {"code": 503, "status": "UNAVAILABLE"}}, "provider_unavailable"),
    )

    def texts(self, body: Any) -> list[str]:
        return [one["content"]["parts"][0]["text"] for one in body["requests"]]

    def answer(self, texts: list[str], dimensions: int = DIMENSIONS) -> Any:
        vectors = [(7 * vector_of(text, dimensions)).tolist() for text in texts]
        return {
            "embeddings": [{"values": vector} for vector in vectors],
            "usageMetadata": {"promptTokenCount": 4},
        }

    def items(self, answer: Any) -> list[Any]:
        found: list[Any] = answer["embeddings"]
        return found

    def put(self, answer: Any, index: int, embedding: object) -> None:
        answer["embeddings"][index]["values"] = embedding

    def count(self, answer: Any, tokens: object) -> None:
        answer["usageMetadata"] = {"promptTokenCount": tokens}


#: By the name of the provider. Every provider that is called over HTTP has an entry.
FORMS: Mapping[str, Form] = {
    "openai": OpenAIForm(),
    "azure": AzureForm(),
    "compatible": CompatibleForm(),
    "voyage": VoyageForm(),
    "cohere": CohereForm(),
    "gemini": GeminiForm(),
}


@dataclass
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass
class FakeProvider:
    """Serves one form on loopback. While `gate` is clear, requests wait."""

    name: str
    requests: list[Received] = field(default_factory=list)
    #: Answers to other requests than those for embeddings, by path.
    pages: dict[str, Any] = field(default_factory=dict)
    respond: Callable[[list[str]], Answer | Raw | None] = lambda _texts: None
    gate: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.form = FORMS[self.name]
        self.gate.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        serve = {"poll_interval": 0.05}
        threading.Thread(target=self._server.serve_forever, kwargs=serve, daemon=True).start()

    @property
    def root(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def access(self) -> dict[str, str]:
        """The settings to reach it."""
        return {name: value.replace("URL", self.root) for name, value in self.form.access.items()}

    @property
    def texts(self) -> list[list[str]]:
        """The texts of each request for embeddings."""
        return [self.form.texts(one.body) for one in self.requests if self._is_ours(one.path)]

    def close(self) -> None:
        """Let all requests continue, and stop."""
        self.closed.set()
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    def _is_ours(self, path: str) -> bool:
        return path.endswith(self.form.path)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._respond(None)

            def do_POST(self) -> None:
                self._respond(json.loads(self.rfile.read(int(self.headers["content-length"]))))

            def _respond(self, body: Any) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                fake.requests.append(Received(self.path, headers, body))
                answer = fake._answer(self.path, body)
                raw = answer if isinstance(answer, Raw) else _raw(*answer)
                self.close_connection = True
                with suppress(OSError):  # tests kill callers; that is no error
                    self._send(raw)

            def _send(self, raw: Raw) -> None:
                self.send_response(raw.status)
                for name, value in {"content-type": raw.content_type, **raw.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                fake._write(self.wfile, raw)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def _write(self, out: Any, raw: Raw) -> None:
        if not raw.seconds_per_byte:
            out.write(raw.content)
            return
        for byte in raw.content:
            out.write(bytes([byte]))
            if self.closed.wait(raw.seconds_per_byte):
                return

    def _answer(self, path: str, body: Any) -> Answer | Raw:
        if not self._is_ours(path):
            found: Answer = self.pages.get(path, (404, {"error": "no such page"}, {}))
            return found
        self.gate.wait(180)
        special = self.respond(self.form.texts(body))
        return special or (200, self.form.answer_to(body), {})


def _raw(status: int, body: Any, headers: dict[str, str]) -> Raw:
    return Raw(json.dumps(body).encode(), status, headers=headers)
