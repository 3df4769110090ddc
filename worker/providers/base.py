"""What a provider of embeddings says of itself.

Nothing here connects to anything: worker/clients/embedder.py sends what `HttpProvider.request`
makes, and turns whatever comes back into vectors or an error code.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.util import find_spec
from typing import Any, ClassVar, Final

#: The day on which the prices in `models` were looked up. Settings override them.
PRICES_OF: Final = "2026-11-29"

#: How a provider is reached, by the names of its variables.
Access = Mapping[str, str]

_MACHINE_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,60}")


class Kind(StrEnum):
    """What a text is. Some models embed a query otherwise than the passage that answers it."""

    DOCUMENT = "document"
    QUERY = "query"


@dataclass(frozen=True)
class RequestLimits:
    """What one request may hold."""

    texts: int
    tokens: int  #: of all its texts
    text_tokens: int  #: of one text

    def within(self, told: "Told") -> "RequestLimits":
        """The same, but no more than a server says that it takes."""
        return RequestLimits(
            *(
                ours if theirs is None else min(ours, theirs)
                for ours, theirs in (
                    (self.texts, told.texts),
                    (self.tokens, told.tokens),
                    (self.text_tokens, told.text_tokens),
                )
            )
        )


@dataclass(frozen=True)
class BulkTerms:
    """What a provider takes in one of its batches, which it answers within a day, for less."""

    texts: int
    file_bytes: int
    price_factor: float  #: of the price of a model, on PRICES_OF


@dataclass(frozen=True)
class Told:
    """What a server says of its limits; None: nothing."""

    texts: int | None = None
    tokens: int | None = None
    text_tokens: int | None = None


@dataclass(frozen=True)
class Model:
    """What is known of one model."""

    dimensions: int  #: of its embeddings, unless fewer are asked for
    text_tokens: int  #: longest text
    usd: float | None = None  #: a million tokens, on PRICES_OF
    resizes: bool = False  #: it can be asked for fewer dimensions (Matryoshka embeddings)


@dataclass(frozen=True)
class Variable:
    """A setting by which a provider is reached: `DOCMILL_`, the provider's name, and its own."""

    name: str
    meaning: str
    standard_names: tuple[str, ...] = ()  #: under which others know it
    default: str | None = None
    is_secret: bool = False
    is_needed: bool = False  #: without it there is no way to the provider


@dataclass(frozen=True)
class Wanted:
    """What texts are to become."""

    model: str
    dimensions: int
    sends_dimensions: bool  #: the provider is told how many are wanted
    kind: Kind


@dataclass(frozen=True)
class Request:
    """One HTTP request: a POST of JSON, or a GET where there is no body. Its headers hold keys."""

    url: str
    headers: Mapping[str, str]
    body: object = None


@dataclass(frozen=True)
class Refusal:
    """An answer with a status that is no success."""

    status: int
    headers: Mapping[str, str]
    body: Any  #: its JSON; None where it is none


class Provider(ABC):
    """One provider of embeddings. What it says is a fact, with its source in the file."""

    name: ClassVar[str]
    #: Name and short description for people.
    title: ClassVar[str]
    variables: ClassVar[tuple[Variable, ...]] = ()
    models: ClassVar[Mapping[str, Model]]
    #: None: models have names of their own there, and must be named.
    default_model: ClassVar[str | None]
    limits: ClassVar[RequestLimits]
    #: How its tokens are counted: a name of COUNTERS in worker/extraction/child/chunking/tokens.py.
    counter: ClassVar[str] = "openai"
    #: Whether its embeddings have length 1. Others are scaled to it. None: it depends on the model.
    is_normalised: ClassVar[bool | None] = True
    #: Whether it has the models of `models` and no others.
    is_closed: ClassVar[bool] = False

    def sends_dimensions(self, model: str) -> bool:
        """Whether requests name the dimensions, unless told otherwise."""
        return model in self.models and self.models[model].resizes

    def limits_for(self, model: str) -> RequestLimits:
        """The limits of a request with this model."""
        known = self.models.get(model)
        return replace(self.limits, text_tokens=known.text_tokens) if known else self.limits


class LocalProvider(Provider):
    """A provider that is a model on this machine: no key, no network. It costs nothing."""

    #: What has to be installed, each a top-level module.
    modules: ClassVar[tuple[str, ...]]
    #: The extra of docmill that brings them.
    extra: ClassVar[str]
    #: The class that embeds, `package.module:Class`, made for a Kind.
    embedder: ClassVar[str]
    is_closed: ClassVar[bool] = True

    def is_installed(self) -> bool:
        """Whether this machine has the model. Imports nothing."""
        return all(find_spec(module) for module in self.modules)


#: error.code or error.type of answers that mean: no money left. From the provider's error guide
#: and Microsoft's list of its 429 codes, 2026; the status alone does not tell them from a limit.
QUOTA_WORDS: Final = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_hard_limit_reached",
    }
)

_CODES: Final[Mapping[int, str]] = {
    400: "embedding_rejected",
    401: "provider_auth",
    402: "provider_quota_exhausted",
    403: "provider_auth",
    404: "provider_model_missing",
    413: "embedding_rejected",
    422: "embedding_rejected",
    429: "rate_limited",
}


class HttpProvider(Provider):
    """A provider that is asked over HTTP. Its methods decide, and send nothing.

    The methods that read answers may raise anything: an answer that they do not understand is a
    wrong one.
    """

    #: None: it has no batches, or in a form that docmill does not speak.
    bulk: ClassVar[BulkTerms | None] = None
    #: By which tokens are estimated where an answer does not tell them; None: it tells them.
    characters_a_token: ClassVar[float | None] = None

    @abstractmethod
    def request(self, access: Access, wanted: Wanted, texts: Sequence[str]) -> Request:
        """The request for the embeddings of some texts."""

    @abstractmethod
    def embeddings(self, answer: Any) -> Sequence[object]:
        """The embeddings in the order of the texts, each as numbers or as base64 of floats."""

    @abstractmethod
    def tokens(self, answer: Any) -> object:
        """How many tokens the answer says were billed, if it does."""

    def words(self, refusal: Refusal) -> set[str]:
        """The words in a refusal that are meant for machines."""
        error = refusal.body["error"]
        return {str(error.get("code")), str(error.get("type"))}

    def code(self, refusal: Refusal) -> str:
        """Our code for a refusal."""
        if self.machine_words(refusal) & QUOTA_WORDS:
            return "provider_quota_exhausted"
        return _CODES.get(refusal.status, "provider_unavailable")

    def wait_seconds(self, refusal: Refusal) -> float | None:
        """How long the provider wants to be left alone, if it says so in seconds."""
        milliseconds = number(refusal.headers.get("retry-after-ms"))
        if milliseconds is not None:
            return milliseconds / 1000
        return number(refusal.headers.get("retry-after"))

    def questions(self, access: Access, wanted: Wanted) -> Sequence[Request]:
        """What a server is asked about its limits."""
        del access, wanted
        return ()

    def told(self, answers: Sequence[Any]) -> Told:
        """What the answers to `questions` say; None stands for one that was not given."""
        del answers
        return Told()

    def machine_words(self, refusal: Refusal) -> set[str]:
        """Those of `words` that are words; none where the refusal has another form."""
        try:
            words = self.words(refusal)
        except (AttributeError, LookupError, TypeError):
            return set()
        return {word for word in words if _MACHINE_WORD.fullmatch(word)}


def number(text: object) -> float | None:
    """A number of seconds in a header; None where it is none, as a date is."""
    try:
        value = float(text if isinstance(text, str) else "nan")
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None


def without_slash(url: str) -> str:
    """A base URL, however it was written."""
    return url.rstrip("/")


def key_variable(*standard_names: str, is_needed: bool = True) -> Variable:
    """The variable of a key."""
    meaning = "Key of the provider."
    return Variable("api_key", meaning, standard_names, is_secret=True, is_needed=is_needed)


def url_variable(default: str, *standard_names: str) -> Variable:
    """The variable of a base URL that has a default."""
    return Variable("base_url", "Base URL, where it is another.", standard_names, default=default)
