"""Reads one value of a query string from left to right."""

import re
from collections.abc import Callable
from typing import Final, NoReturn, TypeVar

from docmill.embedded.rest.errors import unparsable
from docmill.embedded.rest.terms import Field, Step

T = TypeVar("T")

#: A text in double quotes, with a backslash before a quote or a backslash inside.
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
#: An index into a JSON array; what is longer, or goes on, is a key.
_INDEX: Final = re.compile(r"-?[0-9]{1,9}(?=->|::|[.,)]|$)")

_NAME: Final = "field name (* or [a..z0..9_$])"
_KEY: Final = "any non reserved character different from: .,>()"


class Reader:
    """A text and how far it has been read."""

    def __init__(self, what: str, text: str, *, shown: str | None = None) -> None:
        """`what` and `shown` name the text in errors."""
        self._what = what
        self._text = text
        self._shown = text if shown is None else shown
        self._at = 0

    def fail(self, expecting: str) -> NoReturn:
        """Refuse the text at this place. Raises RestError PGRST100."""
        seen = "end of input" if self.ended() else f'"{self.peek()}"'
        details = f"unexpected {seen} expecting {expecting}"
        raise unparsable(self._what, self._shown, self._at + 1, details)

    def ended(self) -> bool:
        """Whether all is read."""
        return self._at >= len(self._text)

    def peek(self) -> str:
        """The next character; empty at the end."""
        return self._text[self._at : self._at + 1]

    def sees(self, word: str) -> bool:
        """Whether this word is next."""
        return self._text.startswith(word, self._at)

    def take(self, word: str) -> bool:
        """Read this word if it is next."""
        if not self.sees(word):
            return False
        self._at += len(word)
        return True

    def expect(self, word: str) -> None:
        """Read this word, which must be next."""
        if not self.take(word):
            self.fail(f'"{word}"')

    def take_until(self, ends: str) -> str:
        """Read up to the first of these characters, or all."""
        return self._take_while(lambda char: char not in ends)

    def take_match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Read what fits the pattern here."""
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
        return match

    def take_rest(self) -> str:
        """Read all that is left."""
        begun, self._at = self._at, len(self._text)
        return self._text[begun:]

    def skip_space(self) -> None:
        """Read blanks."""
        self._take_while(lambda char: char in " \t")

    def attempt(self, read: Callable[[], T | None]) -> T | None:
        """What `read` finds; when that is None, nothing was read."""
        begun = self._at
        found = read()
        if found is None:
            self._at = begun
        return found

    def quoted(self) -> str | None:
        """A text in double quotes, without them; None when there is none here."""
        match = self.take_match(_QUOTED)
        return None if match is None else _ESCAPED.sub(r"\1", match[1])

    def identifier(self) -> str:
        """Letters, digits, `_`, `$` and spaces inside; may be empty."""
        return self._take_while(_is_identifier).strip()

    def at_name(self) -> bool:
        """Whether a field's name may begin here."""
        return self.peek() == '"' or _is_identifier(self.peek() or ",")

    def name(self) -> str:
        """A field's name: quoted, or identifiers with dashes between them."""
        quoted = self.quoted()
        return self._dashed(self.identifier, _NAME) if quoted is None else quoted

    def field(self) -> Field:
        """A name, and the way into its JSON value."""
        self.skip_space()
        name = self.name()
        path = []
        while self.take("->"):
            as_text = self.take(">")
            path.append(Step(self._key(), as_text))
        self.skip_space()
        return Field(name, tuple(path))

    def _key(self) -> str | int:
        index = self.take_match(_INDEX)
        if index is not None:
            return int(index[0])
        quoted = self.quoted()
        if quoted is not None:
            return quoted
        return self._dashed(lambda: self.take_until("(-:.,>)").strip(), _KEY)

    def _dashed(self, read_part: Callable[[], str], expecting: str) -> str:
        parts = [read_part()]
        while parts[-1] and self.sees("-") and not self.sees("->"):
            self.take("-")
            parts.append(read_part())
        if not parts[-1]:
            self.fail(expecting)
        return "-".join(parts)

    def _take_while(self, accepts: Callable[[str], bool]) -> str:
        begun = self._at
        while not self.ended() and accepts(self._text[self._at]):
            self._at += 1
        return self._text[begun : self._at]


def _is_identifier(char: str) -> bool:
    return char.isalnum() or char in "_ $"
