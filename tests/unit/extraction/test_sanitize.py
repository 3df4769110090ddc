"""Which characters may go to Postgres."""

import json
import unicodedata
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from docmill.worker.extraction.shared.sanitize import count_hidden, sanitize

any_text = st.text(st.characters(codec=None, exclude_categories=()))
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=10,
)


def strings_of(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings_of(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings_of(item)


@given(any_json)
def test_nothing_that_postgres_or_utf8_refuses_is_left(value):
    for text in strings_of(sanitize(value)):
        text.encode("utf-8")
        assert "\x00" not in text
        assert not [c for c in text if unicodedata.category(c) == "Cs"]
        assert not [c for c in text if c < " " and c not in "\n\t"]


@given(any_json)
def test_sanitizing_twice_changes_nothing(value):
    assert sanitize(sanitize(value)) == sanitize(value)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_ordinary_text_is_left_alone(text):
    assert sanitize(text) == text


def test_line_ends_of_all_kinds_become_newlines():
    assert sanitize("a\r\nb\rc\x0bd\x0ce\nf\tg") == "a\nb\nc\nd\ne\nf\tg"


def test_hidden_characters_are_counted_and_kept():
    hidden = "a\u200bb\u2060c\u202ed\U000e0041e\ufeff"
    assert count_hidden(hidden) == 5
    assert sanitize(hidden) == hidden


def test_what_scripts_and_emoji_need_is_not_hidden():
    # A joiner of Persian, direction marks of Hebrew, an emoji of a family, an accent.
    for text in (
        "\u0645\u06cc\u200c\u062e",
        "\u05d0\u200f",
        "\U0001f468\u200d\U0001f469",
        "e\u0301",
    ):
        assert count_hidden(text) == 0


def test_metadata_is_sanitized_at_every_depth_and_stays_json():
    dirty = {"pro\x00ducer": ["a\ud800b", {"c": ("d\x01", 3, None)}]}
    clean = sanitize(dirty)
    assert clean == {"producer": ["ab", {"c": ("d", 3, None)}]}
    json.dumps(clean).encode()
