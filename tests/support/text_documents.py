"""Random plain texts of which the writer knows which lines are headings, and those alone."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.support.judged_documents import JudgedDocument
from tests.support.prose import prose

_NAMES = ("Ada", "Mayor Hill", "Mr. Brown", "Q", "AUDIENCE", "A VOICE", "DR. STONE", "Speaker 2")
_THINGS = ("Harbour", "Lighthouse", "Fees", "Boats", "History", "Early Life", "Method", "Results")
_VERBS = ("started", "closed", "failed", "reloaded", "accepted", "refused")


@dataclass
class _Writer:
    random: Random

    def words(self, least: int, most: int) -> str:
        """Some words of a sentence, in small letters, without its full stop."""
        words = prose(self.random.randrange(10_000), 1)[0].text.lower().replace(".", "").split()
        return " ".join(words[: self.random.randint(least, most)])

    def paragraph(self) -> str:
        return (
            " ".join(element.text for element in prose(self.random.randrange(10_000), 3))
            + " It ends here."
        )

    def thing(self) -> str:
        return self.random.choice(_THINGS)

    def number(self) -> int:
        return self.random.randint(1, 40)


def _heading(writer: _Writer) -> tuple[str, str]:
    """A line that is a heading, and the title that it shows."""
    thing, number = writer.thing(), writer.number()
    form = writer.random.choice(
        (
            "{thing}",
            "The {thing} of the Town",
            "{loud}",
            "Chapter {number}",
            "Chapter {number}: {thing}",
            "CHAPTER {number}. {loud}",
            "{number}.2 {thing} and Others",
            "Appendix B. {thing}",
            "== {thing} ==",
            "=== {thing} in {number} ===",
        )
    )
    line = form.format(thing=thing, loud=thing.upper(), number=number)
    return line, line.strip("= ")


def _speech(writer: _Writer) -> str:
    said = writer.words(1, 6).capitalize() + writer.random.choice(("", ".", "!", "?"))
    form = writer.random.choice(("{0}: {1}", "[{0}] {1}", "<{0}> {1}", "{0} (rising): {1}"))
    return form.format(writer.random.choice(_NAMES), said)


def _stage(writer: _Writer) -> str:
    form = writer.random.choice(("({})", "[{}]", "* {} *", "-- {} --"))
    return form.format(writer.words(1, 4).capitalize())


def _log(writer: _Writer) -> str:
    clock = f"{writer.random.randint(10, 23)}:{writer.random.randint(10, 59)}:07"
    form = writer.random.choice(
        ("2024-05-01 {0} INFO {1}", "[{0}] {1}", "{0} {1}", "May  1 {0} host daemon[42]: {1}",
         "2024-05-01T{0}Z level=info msg={1}", "INFO:root:{1}", "WARN  {1}")
    )  # fmt: skip
    return form.format(clock, f"Server {writer.number()} {writer.random.choice(_VERBS)}")


def _code(writer: _Writer) -> str:
    name = writer.words(1, 1)
    form = writer.random.choice(
        ("{0} = {1}", "if {0} == {1}:", "def {0}(self):", "return {0}", "{0}({1});", "import {0}",
         "#include <{0}.h>", "// {0} below", "$ {0} --all", "let {0} = {1};", "class {0}:")
    )  # fmt: skip
    return form.format(name, writer.number())


def _field(writer: _Writer) -> str:
    form = writer.random.choice(
        ("{0}: {1}", "{0} = {1}", "{0}: {1} pounds", "Page {1}", "{1} / 80", "- {0}", "* {0}",
         "{0} ........ {1}", "Fig. {1}: {0}", "https://example.org/{1}", "ada{1}@example.org",
         "Tel. 020 7946 0{1}", "---", "* * *", "{1}")
    )  # fmt: skip
    return form.format(writer.thing(), writer.number())


def _markup(writer: _Writer) -> str:
    form = writer.random.choice(
        ("[[Category:{0}]]", "{{{{Infobox {0}}}}}", "|name = {0}", "[[File:{0}.jpg|thumb|{0}]]",
         "*** START OF {1} ***", "[Illustration: {0}]", "_To {0}_", "{0}:",
         'File "{0}.py", line {1}, in main', "ValueError: {0} {1}", "+++ b/{0}.py",
         "@@ -{1} +{1} @@",
         "SELECT name FROM {0}", "C:\\{0}\\{1}.txt", "/usr/share/{0}/{1}", "export PATH=/{0}",
         "[{1}] {0}, 1987, p. 4", "> {0} {1}", "rm -rf {0}")
    )  # fmt: skip
    return form.format(writer.thing(), writer.number())


def _closing(writer: _Writer) -> str:
    return writer.random.choice(
        ("Yours sincerely,", "Best regards", "Thank you", "/s/ Ada Hill", "P.S. Bring the key",
         "Note: keep this dry", "All rights reserved", "THE END.", "To be continued...")
    )  # fmt: skip


_NO_HEADINGS: tuple[Callable[[_Writer], str], ...] = (
    _speech,
    _stage,
    _log,
    _code,
    _field,
    _markup,
    _closing,
)


def text_document(seed: int, blocks: int = 20) -> JudgedDocument:
    """A text with blank lines between its blocks. `shown` has its headings, in order.

    Prose stands on both sides of each short line, so only the line itself can tell what it is.
    """
    writer, written, headings = _Writer(Random(seed)), list[str](), list[str]()
    for _ in range(blocks):
        written.append(writer.paragraph())
        if writer.random.random() < 0.3:
            line, title = _heading(writer)
            headings.append(title)
        else:
            line = writer.random.choice(_NO_HEADINGS)(writer)
        written.append(line)
    written.append(writer.paragraph())
    return JudgedDocument("\n\n".join(written).encode(), headings)
