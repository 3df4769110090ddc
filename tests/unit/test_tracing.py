"""Traces cost nothing where nobody wants them, and say nothing odd where somebody does."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from docmill.worker import tracing
from docmill.worker.errors import JobError
from docmill.worker.log import configure_logging
from docmill.worker.processes import tracing as processes
from docmill.worker.processes.tracing import is_wanted, traced

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
WANTED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What this process logs."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging(log_format="json", level="info", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """This process's environment: of OpenTelemetry's variables only the collector's address."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    for name, text in WANTED.items():
        monkeypatch.setenv(name, text)
    library = logging.getLogger("opentelemetry")
    handlers, propagate = library.handlers[:], library.propagate
    yield monkeypatch
    library.handlers[:], library.propagate = handlers, propagate


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        # Flags that this version does not know are not passed on; nor is what a later one adds.
        (f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-01"),
        (f"cc-{TRACE}-{SPAN}-01-what the future brings", f"00-{TRACE}-{SPAN}-01"),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        (f" 00-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}-01\n", None),
        ("'; drop table ingest.jobs", None),
        ("", None),
    ],
)
def test_only_the_form_of_the_header_is_taken(header: str, kept: str | None) -> None:
    assert tracing.parsed(header) == kept


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        (WANTED, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        (WANTED | {"OTEL_SDK_DISABLED": "True"}, False),
        (WANTED | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (WANTED | {"OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_the_standards_variables_ask_for_traces(variables: dict[str, str], wanted: bool) -> None:
    assert is_wanted(variables) == wanted


def test_nothing_of_opentelemetry_is_loaded_where_nobody_wants_traces() -> None:
    """By any process, or by a document that passes: the port answers at once."""
    program = """
import sys
import docmill.cli.processes
from docmill.worker.processes.tracing import leave_out_unwanted, traced
leave_out_unwanted()
import docmill.tasks, docmill.worker.processes.worker, docmill.worker.processes.webhook
import docmill.worker.clients.embedder, docmill.worker.embedding.traced
from docmill.worker import tracing
with traced("worker"), tracing.step("download") as span:
    span.set({"docmill.bytes": 1})
    assert tracing.current() is None and span is tracing.start("read")
found = [name for name in sys.modules if name.split(".")[0] == "opentelemetry"]
print([name for name in found if sys.modules[name] is not None])
"""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environ, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("variables", "remedy"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/protobuf"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "correct the OTEL_ variables"),
    ],
)
def test_what_cannot_be_exported_is_said_once_and_left(
    wanted: pytest.MonkeyPatch, logged: io.StringIO, variables: dict[str, str], remedy: str
) -> None:
    for name, text in variables.items():
        wanted.setenv(name, text)
    with traced("worker"):
        assert not tracing.is_on()
    (line,) = logged.getvalue().splitlines()
    assert json.loads(line)["event"] == "traces_off"
    assert remedy in json.loads(line)["remedy"]


def test_the_missing_extra_is_named(wanted: pytest.MonkeyPatch, logged: io.StringIO) -> None:
    wanted.setattr(processes, "find_spec", lambda _name: None)
    with traced("worker"):
        assert not tracing.is_on()
    assert "install docmill with the extra otel" in logged.getvalue()


@pytest.mark.usefixtures("wanted")
def test_the_librarys_lines_are_few_and_short(logged: io.StringIO) -> None:
    with traced("worker"):
        assert tracing.is_on()
        for _ in range(1000):
            logging.getLogger("opentelemetry.sdk.trace").error(
                "http://user:canary@collector refused: %s", "no " * 10_000
            )
    assert not tracing.is_on()
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    (said,) = [line for line in lines if line["event"] == "traces_disturbed"]
    assert len(said["said"]) <= 200
    assert "canary" not in said["said"]


class Noted:
    """A span that notes its end."""

    def __init__(self) -> None:
        self.traceparent = f"00-{TRACE}-{SPAN}-01"
        self.ends: list[str | None] = []

    def set(self, attributes: tracing.Attributes) -> None:
        pass

    def link(self, traceparent: str) -> None:
        pass

    def end(self, error: str | None = None) -> None:
        self.ends.append(error)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (JobError("corrupt", "a secret word"), "corrupt"),
        (ValueError("a secret word"), "ValueError"),
    ],
)
def test_an_error_is_named_without_its_words(error: Exception, said: str) -> None:
    span = Noted()
    with pytest.raises(type(error)):  # noqa: SIM117 -- it is the inner one that is tried
        with tracing.within(span):
            raise error
    assert span.ends[0] == said
    assert tracing.current() is None
