"""Plain text, records and pages, read without a process."""

import io
import json
import re
import time
from pathlib import Path

import markdown
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown.inlinepatterns import LinkInlineProcessor
from unstructured.partition import text_type

from docmill.worker.errors import JobError
from docmill.worker.extraction.child.kinds import shortcuts, web
from docmill.worker.extraction.child.kinds.base import Source
from docmill.worker.extraction.child.kinds.registry import open_reading
from docmill.worker.extraction.child.kinds.shortcuts import take_shortcuts
from docmill.worker.extraction.child.kinds.text import blocks_of
from docmill.worker.extraction.zygote.warm import use_blank_sentence_splitter
from docmill.worker.models import Element
from tests.support.text_documents import text_document

use_blank_sentence_splitter()


def read(content: str | bytes, name: str = "a.txt") -> list[Element]:
    data = content.encode() if isinstance(content, str) else content
    _, reading = open_reading(Source(io.BytesIO(data), name))
    return [part for part in reading.parts if isinstance(part, Element)]


def shown(content: str | bytes, name: str = "a.txt"):
    return [(element.category, element.text) for element in read(content, name)]


def test_wrapped_lines_are_joined():
    text = (
        "This is a paragraph that somebody has wrapped to a certain\n"
        "width, as people do who write in editors with fixed width\n"
        "and as mail programs did.\n\n"
        "A second one.\n"
    )
    first, second = blocks_of(text)
    assert first[0].count("\n") == 0
    assert first[0].endswith("as mail programs did.")
    assert second == ["A second one."]


def test_lines_of_a_log_stay_lines():
    log = "".join(
        f"2026-01-01 12:00:{n:02} INFO request {n} took 3 ms and was fine\n" for n in range(9)
    )
    assert shown(log) == [("Text", log.strip())]


def test_a_short_line_over_a_paragraph_is_a_title():
    assert shown("Early life\n\n" + "He was born in a town, and so on. " * 6)[0] == (
        "Title",
        "Early life",
    )


def test_short_lines_over_nothing_are_no_titles():
    assert {category for category, _ in shown("One\n\nTwo\n\nThree\n")} == {"Text"}


PROSE = "What follows is a paragraph of prose, which has something to say. " * 3


@pytest.mark.parametrize("address", ["http://example.org/a", "<https://example.org>", "www.a.org"])
def test_an_address_is_no_title(address: str):
    assert shown(f"A page of ours\n\n{address}\n\n{PROSE}")[1] == ("Text", address)


def test_no_heading_cuts_a_sentence_at_an_address_that_it_names():
    text = f"{PROSE}You may obtain a copy at\n\n    http://example.org/copy\n\n{PROSE}"
    assert [category for category, _ in shown(text)] == ["NarrativeText", "Text", "NarrativeText"]


@pytest.mark.parametrize(
    ("before", "line", "category"),
    [
        (f"{PROSE}It is kept in", "the office of the clerk", "Text"),
        (f"{PROSE}It is kept in:", "the office of the clerk", "Text"),
        ("You may obtain a copy in", "the office of the clerk", "Text"),
        (f"{PROSE}It is kept.", "the office of the clerk", "Title"),
        (f'{PROSE}"It is kept."', "the office of the clerk", "Title"),
        (f"{PROSE}It is kept", "The office of the clerk", "Title"),
        (f"{PROSE}It is kept", "iPhone and others", "Title"),
        (f"{PROSE}It is kept", "[office]", "Text"),
        # Some writers use no capitals at all.
        (f"{PROSE}it is kept".lower(), "the office of the clerk", "Title"),
    ],
)
def test_a_line_that_goes_on_with_a_sentence_is_no_title(before: str, line: str, category: str):
    assert shown(f"{before}\n\n{line}\n\n{PROSE}")[1] == (category, line)


@pytest.mark.parametrize(
    "line",
    [
        # Somebody speaks.
        "AUDIENCE: Hear, hear",
        "Q: What is the fee",
        "A: It is ten pounds",
        "Dr. Smith: I object",
        "Speaker 1: We begin now",
        "INTERVIEWER (smiling): Go on",
        "[ALICE] I never said so",
        "<alice> hello everybody",
        "HAMLET. To be or not to be",
        "@alice I agree with this",
        "> quoted text here",
        # Something happens, at a time.
        "(Laughter)",
        "[Applause]",
        "10:30: The meeting begins",
        "10:30 The meeting begins",
        "[00:01:30] Welcome to the show",
        "09:15 AM - Opening",
        "2024-05-01 12:00:00 Server started",
        # Notes, fields, and what is counted.
        "Note: see the annex",
        "NOTE: Keep this dry",
        "Warning - hot surface",
        "P.S. Bring the key",
        "Fees: 2024",
        "cc: the Board",
        "1: the first line",
        "(iv) the fourth case",
        "Line 14: missing bracket",
        "ERROR 404 not found",
        "Page 3 of 12",
        "Fig. 3: The valve",
        "Figure 3. The valve",
        "Table 2: Fees of 2024",
        # Code, and the end of a letter.
        "a == b",
        "$ make install",
        "#winning",
        "Sincerely yours",
        "Best regards",
        "Mit freundlichen Grüßen",
        "-- John Smith",
        "/s/ John Smith",
        "Thank you very much",
        "Copyright 2024 by the Harbour Office",
        "All rights reserved",
        # Capitals are no title if they say a sentence.
        "DO NOT OPEN THE DOOR WHILE IT RUNS",
        "WE WILL NOT BE MOVED BY THIS",
    ],
)
def test_a_line_that_says_something_is_no_title(line: str):
    assert shown(f"{PROSE}\n\n{line}\n\n{PROSE}")[1] == ("Text", line)


@pytest.mark.parametrize(
    "line",
    [
        "Chapter 1: Rain",
        "CHAPTER ONE",
        "Annex A: Fees",
        "Section 3: Boats",
        "Part IV: Of the Sea",
        "Article 5 - Fees",
        "IV. The Harbour",
        "Appendix B. Forms",
        "2.3 Opening hours",
        "FEES AND CHARGES",
        "Lighthouses and Buoys",
        "Results and Discussion",
        "Important dates",
        "Copyright in Europe",
        "Signed Distances",
        "Tables and Chairs",
        "History",
    ],
)
def test_a_heading_is_a_title(line: str):
    assert shown(f"{PROSE}\n\n{line}\n\n{PROSE}")[1] == ("Title", line)


@pytest.mark.parametrize("seed", range(25))
def test_the_titles_of_any_text_are_its_headings(seed: int):
    document = text_document(seed)
    elements = read(document.data)
    assert [element.text for element in elements if element.category == "Title"] == document.shown
    # Nothing is lost, whatever it was taken for.
    read_words = "".join(re.findall(r"\w", "".join(element.text for element in elements)))
    assert read_words == "".join(re.findall(r"\w", document.data.decode()))


@pytest.mark.parametrize(
    ("line", "heading", "depth"),
    [("= Ada =", "Ada", 0), ("== Early life ==", "Early life", 1), ("= = Life = =", "Life", 1)],
)
def test_headings_of_a_wiki_are_titles_of_their_depth(line: str, heading: str, depth: int):
    (_, title, _) = read(f"{PROSE}\n\n{line}\n\n{PROSE}", "a.txt")
    assert (title.category, title.text, title.depth) == ("Title", heading, depth)


def test_list_items_stand_alone_without_their_bullets():
    assert shown("- one\n- two\n3. three\n") == [
        ("ListItem", "one"),
        ("ListItem", "two"),
        ("ListItem", "3. three"),
    ]


def test_source_code_keeps_its_indentation():
    code = "def f(x):\n    if x:\n        return 1\n"
    assert shown(code, "a.py") == [("CodeSnippet", code)]


@pytest.mark.parametrize("tag", ["div", "blockquote", "ul", "span", "b", "section"])
@pytest.mark.parametrize("depth", [10, 300, 5000])
def test_nothing_is_lost_of_html_that_is_nested_deeply(tag: str, depth: int):
    page = "".join(f"<{tag}><p>paragraph number {number}</p>" for number in range(depth))
    text = " ".join(element.text for element in read(f"<html><body>{page}", "a.html"))
    found = {int(number) for number in re.findall(r"paragraph number (\d+)", text)}
    assert found == set(range(depth))


def test_what_follows_something_deep_is_read():
    page = "<div>" * 2000 + "<p>deep down</p>" + "</div>" * 2000 + "<p>up here again</p>"
    text = " ".join(element.text for element in read(f"<html><body>{page}", "a.html"))
    assert "deep down" in text
    assert "up here again" in text


def test_json_is_read_item_by_item():
    assert shown('[{"name": "Ada", "tags": ["x", "y"]}, 3, null, "z"]', "a.json") == [
        ("Text", "name: Ada\ntags: x\ntags: y"),
        ("Text", "3"),
        ("Text", "z"),
    ]


def test_records_in_a_list_below_other_keys_stand_by_themselves():
    answer = {"meta": {"page": 1, "of": 3}, "data": {"next": "b", "items": [{"id": 1}, {"id": 2}]}}
    assert [words for _, words in shown(json.dumps(answer), "a.json")] == [
        "meta.page: 1\nmeta.of: 3",
        "data.next: b",
        "data.items.id: 1",
        "data.items.id: 2",
    ]


@given(
    depth=st.integers(1, 12),
    counts=st.lists(st.integers(2, 4), min_size=13, max_size=13),
    by_name=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_records_at_any_depth_stay_whole(depth: int, counts: list[int], *, by_name: bool):
    """The innermost records, in lists or under names of their own, are long enough to be cut."""
    made = iter(range(100_000))

    def record(level: int) -> dict[str, object]:
        number = next(made)
        if level == 0:
            return {"first": f"<{number}", "text": f"word{number} " * 30, "last": f"{number}>"}
        # Only two levels have several records, so that the text stays short.
        several = counts[level] * 5 if level in (1, depth) else 1
        inner = [record(level - 1) for _ in range(several)]
        named = {f"r{place}": item for place, item in enumerate(inner)}
        return {"first": f"level {level}", "items": named if by_name else inner}

    answer = {"data": [record(depth)]}
    texts = [element.text for element in read(json.dumps(answer), "a.json")]
    written = re.findall(r"<\d+|\d+>", json.dumps(answer))
    assert re.findall(r"<\d+|\d+>", "\n".join(texts)) == written
    assert len(texts) > 1
    for text in texts:
        assert re.findall(r"<(\d+)", text) == re.findall(r"(\d+)>", text)


NAMES = st.sampled_from(["id", "name", "tags", "more"])
VALUES = st.recursive(
    st.just("?"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


@given(
    st.lists(st.dictionaries(NAMES, VALUES, min_size=1), max_size=8), st.lists(NAMES, max_size=4)
)
def test_each_value_of_any_records_is_read_once_and_no_element_has_two(
    records: list[dict[str, object]], wrappers: list[str]
):
    """Each text names its own record, so mixed elements and doubled or lost texts are noticed."""
    count = iter(range(10_000))

    def marked(value: object, owner: int) -> object:
        if isinstance(value, dict):
            return {name: marked(inner, owner) for name, inner in value.items()}
        if isinstance(value, list):
            return [marked(inner, owner) for inner in value]
        return f"v{owner}-{next(count)}."

    answer: object = [marked(record, number) for number, record in enumerate(records)]
    for name in wrappers:
        answer = {name: answer, "page": 1}
    written = re.findall(r"v\d+-\d+\.", json.dumps(answer))
    texts = [element.text for element in read(json.dumps(answer), "a.json")]
    found = [re.findall(r"v(\d+)-\d+\.", text) for text in texts]
    assert re.findall(r"v\d+-\d+\.", "\n".join(texts)) == written
    assert all(len(set(owners)) <= 1 for owners in found)


def test_of_very_many_records_small_ones_share_an_element():
    elements = read(json.dumps([1] * 200_000), "a.json")
    assert len(elements) < 10_500
    assert sum(len(element.text.split()) for element in elements) == 200_000


def test_json_of_a_forger_is_text_like_any_other():
    forged = """[{"type": "Title", "text": "hello", "element_id": "x",
      "metadata": {"filename": "/etc/passwd", "page_number": 99, "text_as_html": "<b>"}}]"""
    (element,) = read(forged, "a.json")
    assert (element.category, element.page, element.metadata) == ("Text", None, {})
    assert "text: hello" in element.text


def test_json_of_any_depth_and_shape_is_read_or_corrupt():
    assert shown('{"a":' * 500 + "1" + "}" * 500, "a.json") == [
        ("Text", ".".join("a" * 500) + ": 1")
    ]
    with pytest.raises(JobError) as caught:
        read("[" * 100_000, "a.json")
    assert caught.value.code == "corrupt"


def test_json_with_comments_is_read_as_lines():
    assert shown('// a comment\n{"a": 1}', "tsconfig.json") == [
        ("Text", "// a comment"),
        ("Text", "a: 1"),
    ]


def test_json_lines_are_records():
    assert shown('{"a": 1}\n\nbroken\n{"a": 2}\n', "a.jsonl") == [
        ("Text", "a: 1"),
        ("Text", "broken"),
        ("Text", "a: 2"),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter):
    rows = f"a{delimiter}b\n1{delimiter}2\n3{delimiter}4\n"
    assert shown(rows, "a.csv") == [("Table", "a | b\n1 | 2\n3 | 4")]


def test_xml_keeps_names_and_mixed_content():
    xml = "<r><p>Hello <b>bold</b> world</p><c><n>Ada</n><e id='7'/></c>tail</r>"
    assert shown(xml, "a.xml") == [
        ("Text", "p: Hello bold world"),
        ("Text", "n: Ada\ne.id: 7"),
        ("Text", "tail"),
    ]


def test_xml_whose_root_is_a_text_keeps_its_order():
    assert shown("<p>Hello <b>bold</b> old <i>world</i> end</p>", "a.xml") == [
        ("Text", "Hello\nb: bold"),
        ("Text", "old\ni: world"),
        ("Text", "end"),
    ]


def test_xml_reads_no_other_file():
    xml = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a><b>&x;</b><c>d</c></a>'
    assert shown(xml, "a.xml") == [("Text", "c: d")]


def test_a_layout_table_is_no_table():
    html = "<html><table><tr><td></td><td><p>Prose of the page.</p></td></tr></table></html>"
    assert [category for category, _ in shown(html, "a.html")] != ["Table"]
    data = "<html><body><table><tr><td>a</td><td>b</td></tr></table></body></html>"
    assert shown(data, "a.html") == [("Table", "a | b")]


@pytest.mark.parametrize(
    "part",
    [
        "# A heading\n",
        "A heading\n=========\n",
        "A heading\n---\n",
        "# A heading\nSome text, with a verb, that is here.\n",
        "## A heading\n- one\n- two\n",
        "# A heading\n> Somebody has said this.\n",
    ],
)
def test_a_long_block_of_markdown_is_cut_at_headings_and_reads_the_same(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Markdown needs the square of the lines between two blank ones."""
    text = part * 150
    made = web._plain_fences(text)
    runs = [block.strip().count("\n") + 1 for block in re.split(r"\n\s*\n", made)]
    assert max(runs) <= web._LONG_BLOCK + part.count("\n") + 1
    found = list(web._markdown_elements("", text))
    monkeypatch.setattr(web, "_LONG_BLOCK", 10**9)
    assert web._plain_fences(text) == text
    assert list(web._markdown_elements("", text)) == found


def test_markdown_front_matter_is_no_heading():
    content = "---\ntitle: 'Guide'\ntags: [a]\n---\n# Start\n\nText of the guide.\n"
    _, reading = open_reading(Source(io.BytesIO(content.encode()), "a.md"))
    first, second, *_ = [part for part in reading.parts if isinstance(part, Element)]
    assert reading.title == "Guide"
    assert first == Element("Text", "title: 'Guide'\ntags: [a]")
    assert (second.category, second.text, second.depth) == ("Title", "Start", 0)


def test_no_url_is_ever_passed_to_a_partitioner():
    kinds = Path(open_reading.__code__.co_filename).parent
    assert not [path for path in kinds.rglob("*.py") if "url=" in path.read_text()]


bracketed = st.lists(
    st.sampled_from(
        ["[", "]", "![", "](", ")", "a", " b ", "\\[", "]: x\n", "\n\n", "[a](b)", "`"]
    ),
    max_size=60,
).map("".join)


@given(text=bracketed, near=st.integers(0, 20))
def test_links_are_found_as_markdown_finds_them(text: str, near: int) -> None:
    """With any length of the first look; Markdown's own function is the oracle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LinkInlineProcessor, "getText", shortcuts._text_of_link)
        expected = markdown.markdown(text)
        patch.setattr(LinkInlineProcessor, "getText", shortcuts.text_of_link)
        patch.setattr(shortcuts, "_NEAR_CHARACTERS", near)
        assert markdown.markdown(text) == expected


@pytest.mark.parametrize("text", ["[" * 50_000, "[" * 25_000 + "]" * 25_000, "![" * 25_000])
def test_brackets_take_time_that_grows_with_their_number(text: str) -> None:
    """Pairs are found once: the old way took five minutes of CPU."""
    take_shortcuts()
    began = time.process_time()
    assert markdown.markdown(text)
    assert time.process_time() - began < 60


def test_a_word_that_no_language_has_is_no_reason_to_count_for_long() -> None:
    take_shortcuts()
    began = time.process_time()
    assert text_type.sentence_count("[" * 50_000) < 2
    assert time.process_time() - began < 60


def test_numbers_of_json_are_there_as_they_are_written() -> None:
    big = "9" * 5_000
    assert shown(f'[{{"a": 1.50, "b": 1e3}}, {{"c": {big}}}]', "a.json") == [
        ("Text", "a: 1.50\nb: 1e3"),
        ("Text", f"c: {big}"),
    ]


def test_a_long_name_is_written_once_not_before_all_below_it() -> None:
    name = "k" * 10_000
    values = ", ".join(f'"a{n}": {n}' for n in range(1_000))
    texts = [text for _, text in shown(f'{{"{name}": {{{values}}}}}', "a.json")]
    assert sum(text.count(name) for text in texts) == 1
    assert "a999: 999" in texts[-1]
    attributes = " ".join(f'a{n}="{n}"' for n in range(1_000))
    xml = f"<r><s><{name} {attributes}/></s></r>"
    assert sum(len(text) for _, text in shown(xml, "a.xml")) < 500_000


def test_every_value_of_a_key_written_twice_is_kept():
    (found,) = shown('[{"a": "one", "b": 2, "a": ["two", "three"]}]', "a.json")
    assert found == ("Text", "a: one\na: two\na: three\nb: 2")


def test_entities_of_the_file_are_resolved_and_none_from_outside(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("never shown")
    xml = (
        '<?xml version="1.0"?><!DOCTYPE r SYSTEM "x.dtd" [<!ENTITY co "Acme &amp; Sons">'
        f'<!ENTITY both "&co; of &#x41;"><!ENTITY out SYSTEM "file://{secret}">]>'
        "<r><a>By &both;, &eacute;, &out;&unknown;.</a><b>tail</b></r>"
    )
    assert shown(xml, "a.xml") == [("Text", "a: By Acme & Sons of A, é, ."), ("Text", "b: tail")]


@pytest.mark.parametrize("size", [10, 50_000])
def test_entities_that_multiply_are_refused(size):
    levels = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    body = "&a11;" if size == 10 else "&a0;" * size
    declared = f'<!ENTITY a0 "{"x" * size}">{levels}'
    xml = f'<?xml version="1.0"?><!DOCTYPE r [{declared}]><r><a>{body}</a></r>'
    with pytest.raises(JobError) as caught:
        shown(xml, "a.xml")
    assert caught.value.code == "corrupt"


def _cpu_seconds(content: str, name: str) -> float:
    spent: list[float] = []
    for _ in range(2):
        begin = time.process_time()
        read(content, name)
        spent.append(time.process_time() - begin)
    return min(spent)


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("a.html", "<p{} >a"),
        ("a.html", "<a "),
        ("a.md", "<a "),
        ("a.md", "![a]("),
        ("a.md", "[a]( "),
    ],
)
def test_time_grows_with_the_text(name: str, token: str) -> None:
    """Each of these took a time that grew with the square of the length."""
    take_shortcuts()

    def written(times: int) -> str:
        if "{}" not in token:
            return "# T\n\n" + token * times
        return token.format(" ".join(f" a{number}=b" for number in range(times)))

    once, twice = (_cpu_seconds(written(times), name) for times in (20_000, 40_000))
    assert twice < 3 * once + 0.2


def test_a_tag_with_very_many_attributes_keeps_those_that_show_text():
    many = " ".join(f"a{number}='<b>'" for number in range(1000))
    page = f"<table><tr><td {many} colspan=2 a1=x>one<td>two<tr><td>a<td>b<td>c</table>"
    page += f"<p {many} hidden>unseen<p {many} title=x>seen"
    text = "\n".join(words for _, words in shown(page, "a.html"))
    assert "one | one | two" in text
    assert "seen" in text.split()
    assert "unseen" not in text
