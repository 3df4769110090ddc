"""Documents are chunked in children, with the same result as their elements in one go."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from docmill.worker.extraction import GuardedExtractor
from docmill.worker.extraction.child.chunking.chunker import chunk_elements
from docmill.worker.extraction.child.chunking.tokens import counter_for
from docmill.worker.extraction.parent import read_ahead
from docmill.worker.extraction.parent.ordered import NOTHING_KEPT
from docmill.worker.extraction.shared.protocol import Request
from docmill.worker.models import Chunk, ChunkRules
from docmill.worker.ports import KeptWindows
from tests.integration.extraction.conftest import code_of, read_document
from tests.integration.extraction.documents import make_large_xlsx, make_pdf
from tests.integration.extraction.test_windows import PAGES, Kept

RULES = ChunkRules(max_tokens=100)


def make_report() -> bytes:
    """Three windows of pages with one running head; some pages have no text."""
    texts = ["", *["Kiln {0} is fired on day {1}. It cools until the next one."] * 6]
    body = [texts[n % 7].format(n, 37 * n % 101) for n in range(1, PAGES + 1)]
    return make_pdf([f"The kilns of the works\n{text}" for text in body], title="Kilns")


def make_text() -> bytes:
    """Some megabytes of lines."""
    return "\n".join(f"Line {n} tells of kiln {n * 7919 % 10007}." for n in range(90_000)).encode()


DOCUMENTS: dict[str, Callable[[], bytes]] = {
    "report.pdf": make_report,
    "book.xlsx": lambda: make_large_xlsx(3),
    "long.txt": make_text,
    "short.md": lambda: b"# Kilns\n\nA short note.\n\n## Of clay\n\nAnother one.\n",
}


@pytest.fixture(params=DOCUMENTS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    found = tmp_path / str(request.param)
    found.write_bytes(DOCUMENTS[request.param]())
    return found


@pytest.fixture
def requests(extractor: GuardedExtractor, monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests for which children were started."""
    seen: list[Request] = []
    start = extractor._supervisor.start_child

    def note(request, *descriptors):
        seen.append(request)
        return start(request, *descriptors)

    monkeypatch.setattr(extractor._supervisor, "start_child", note)
    return seen


def chunks_of(
    extractor: GuardedExtractor, path: Path, kept: KeptWindows = NOTHING_KEPT
) -> tuple[list[Chunk], list[int], int]:
    """Chunks, pages without text, pages done."""
    with extractor.open(
        path, file_name=path.name, check=lambda: None, kept=kept, rules=RULES
    ) as extraction:
        windows = list(extraction.windows())
    chunks = [chunk for window in windows for chunk in window.chunks]
    return (
        [replace(chunk, ordinal=ordinal) for ordinal, chunk in enumerate(chunks)],
        [page for window in windows for page in window.unread_pages],
        windows[-1].pages_done,
    )


def test_the_chunks_are_those_of_all_elements_in_one_go(
    extractor: GuardedExtractor, path: Path
) -> None:
    document = read_document(extractor, path)
    chunks, unread, done = chunks_of(extractor, path)
    counter = counter_for("openai")
    assert chunks == list(chunk_elements(document.elements, counter, max_tokens=RULES.max_tokens))
    assert unread == document.unread_pages
    assert done == (document.page_count or 0)
    assert chunks


def test_windows_that_are_read_in_their_turn_are_chunked_alike(
    extractor: GuardedExtractor,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    requests: list[Request],
) -> None:
    ahead = chunks_of(extractor, path)
    of_lines = [request for request in requests if request.chunking and request.chunking.of_lines]
    assert bool(of_lines) == (path.name != "short.md")
    requests.clear()
    monkeypatch.setattr(read_ahead, "_MOST_CHARACTERS", 100)
    assert chunks_of(extractor, path) == ahead
    assert not any(request.chunking and request.chunking.of_lines for request in requests)


def test_a_document_of_one_window_takes_one_child(
    extractor: GuardedExtractor, tmp_path: Path, requests: list[Request]
) -> None:
    path = tmp_path / "short.md"
    path.write_bytes(DOCUMENTS[path.name]())
    chunks_of(extractor, path)
    assert len(requests) == 1


def test_what_is_kept_is_neither_read_nor_chunked_again(
    extractor: GuardedExtractor, path: Path, requests: list[Request]
) -> None:
    kept = Kept()
    found = chunks_of(extractor, path, kept)
    assert bool(kept.contents) == (path.name != "short.md")
    for missing in list(kept.contents):
        requests.clear()
        part = Kept()
        part.contents = {n: content for n, content in kept.contents.items() if n != missing}
        # Later windows are kept, and continue the one that is read again.
        assert chunks_of(extractor, path, part) == found
        assert len(requests) <= 2
        assert part.contents == kept.contents


def test_the_first_title_and_what_is_hidden_are_told(
    extractor: GuardedExtractor, tmp_path: Path
) -> None:
    path = tmp_path / "a.md"
    path.write_text("Before.\n\n# The   kilns\n\nHidden\u200b\u2060 here.\n")
    with extractor.open(path, file_name="a.md", check=lambda: None, rules=RULES) as extraction:
        windows = list(extraction.windows())
    assert [window.title for window in windows] == ["The kilns"]
    assert sum(window.hidden_characters for window in windows) == 2


CHUNK = (
    '{"chunk":{"content":"a","headings":[],"page_start":null,"page_end":null,'
    '"token_count":1,"metadata":{}}}'
)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_child_that_says_the_other_thing_is_refused(
    make_hostile: Callable[..., GuardedExtractor],
    order: Callable[[str], Path],
    *,
    chunked: bool,
) -> None:
    extractor = make_hostile()
    if not chunked:
        header = '{"header":{"mime_type":"text/plain","page_count":null,"title":null,"starts":[],'
        header += '"context":""}}'
        path = order(f"write_raw {header}\n{CHUNK}\n" + '{"end":true}')
        assert code_of(extractor, path) == "parse_crashed"
        return
    with (
        pytest.raises(Exception, match="elements for chunks"),
        extractor.open(
            order("say hello"), file_name="a", check=lambda: None, rules=RULES
        ) as extraction,
    ):
        list(extraction.windows())
