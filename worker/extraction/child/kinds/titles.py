"""Lines that look like a title to unstructured and are none: somebody speaks, signs, notes a time.

A wrong title would stand over the chunks of a text that is not its own, so in doubt a line is none.
"""

import re
from typing import Final

_ADDRESS: Final = re.compile(r"[<(]?(?:[a-z][a-z0-9+.-]*://|www\.)\S+", re.IGNORECASE)
#: `AUDIENCE: Hear!`, `Q: How much?`, `MAYOR (rising): No.`
_LABELLED: Final = re.compile(r"([^:]{1,60}):\s+\S.*")
#: `Chapter 1`, `Annex A`, `Part IV`: a label with a number of its own is a heading,
_NUMBERED: Final = re.compile(r"[^\W\d_]{4,}\s+(?:\d[\d.]*|[A-Z]|[IVXLC]+)")
#: unless it numbers what no text stands under: speakers, lines, pictures.
_NUMBERED_ITEM: Final = re.compile(
    r"(?:speaker|voice|person|line|row|error|warning|fig|figure|figura|abb|abbildung|table|tab|tabelle|"
    r"tabla|tableau|plate|chart|photo|image|ans|answer|no|nr)\b\.?\s*\d.*",
    re.IGNORECASE,
)
#: `10:30`, `[00:01:30]`, `2024-05-01 12:00`, `7: The seventh line`, `(iv) a case`, `Page 3 of 12`.
_COUNTED: Final = re.compile(
    r"\W{0,2}\d{1,2}:\d\d.*|\d{4}-\d\d-\d\d.*|\d+\s*:.*|\((?:[ivxlc]{1,5}|[a-z])\).*|"
    r"(?:page|seite|página|p\.)\s*\d+(?:\s*(?:of|/|von|de)\s*\d+)?",
    re.IGNORECASE,
)
#: `[Applause]`, `<mia> hello`, `(rising) No`: what is in brackets is not part of what is said. Also
#: `[[Category:Boats]]` and `_To Ada_`.
_IN_BRACKETS: Final = re.compile(r"[\[(<*][^\])>*]+[\])>*](?:\s.*)?|\[\[.*\]\]|\{\{.*|_.*_")
#: `-- Mia`, `> quoted`, `$ make`, `@mia yes`, `#fun`, `/s/ Mia`, `| cell`.
_BEGINS_WITH_SIGN: Final = re.compile(r"(?:[-\u2013\u2014>$@|~+/\\]|#\w).*")
#: `a == b`, `f(x);`, `limit = 4`
_CODE: Final = re.compile(r".*(?:[=!<>]=|\s=\s|=>|->|&&|\|\||[{};]$).*")
#: `return found`, `export PATH=/bin`, `SELECT name FROM boats`, `rm -rf boats`, `C:\\boats`,
#: `File "boats.py", line 3`
_STATEMENT: Final = re.compile(
    r"(?:return|import|export|package|namespace|using|include|require|let|const|var|class|elif|goto|"
    r"yield|raise|throw|await)\s+[\w.]+|(?:export\s+)?\w+=\S.*|"
    r"(?:SELECT\b.*\bFROM|INSERT\s+INTO|DELETE\s+FROM|UPDATE\s+\S+\s+SET)\s+\S.*|"
    r"[a-z][\w.-]*\s+--?[A-Za-z].*|[A-Za-z]:\\.*|File \".*\", line \d.*"
)
#: `May  1 20:39:07 host daemon[42]: ...`, `WARN  The disk is full`, `INFO:root:Server started`
_LOGGED: Final = re.compile(
    r".*\b\d{1,2}:\d\d:\d\d\b.*|"
    r"\W?(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)\b.*[a-z].*"
)
#: `Early life ........ 7`
_LEADER: Final = re.compile(r".*(?:\.{4,}|(?:\. ){3,}|\u2026{2,}).*\d\W*")
#: `MIA. To be or not`: a name in capitals speaks. `IV. The harbour` is a heading.
_SPEAKS: Final = re.compile(r"(?![IVXLC]+\.)[^\W\d_a-z]{3,}\.\s+\S.*[a-z].*")
_NOTE: Final = re.compile(
    r"(?:note|notice|warning|caution|attention|tip|hint|important|danger|hinweis|achtung|warnung|nota|"
    r"aviso|atenci\u00f3n|remarque|p\.?\s?s\.?)(?:\s*[-\u2013\u2014]|(?<=\.)\s).*",
    re.IGNORECASE,
)
_CLOSING: Final = re.compile(
    r"(?:yours|sincerely|respectfully|faithfully|regards|(?:best|kind|warm)\s+(?:regards|wishes)|"
    r"many thanks|thanks|thank you|cheers|mit freundlichen|freundliche|viele gr\u00fc\u00dfe|"
    r"hochachtungsvoll|atentamente|saludos|cordialement|bien \u00e0 vous)\b.{0,30}|"
    r"(?:\u00a9|\(c\)|copyright\s+(?:\u00a9|\(c\)|\d{4}|by\b)).*|all rights reserved.*",
    re.IGNORECASE,
)
#: A line in capitals with so many words, one of which only a sentence has, is a sentence.
_SENTENCE_WORDS: Final = 6
_OF_SENTENCES: Final = re.compile(
    r"\b(?:IS|ARE|WAS|WERE|WILL|WOULD|SHALL|MUST|CAN|CANNOT|DO|DOES|DID|NOT|HAVE|HAS|I|WE|YOU|HE|SHE|"
    r"THEY|PLEASE|IST|SIND|WIRD|MUSS|NICHT|ES|SON|EST|SONT)\b"
)
_NO_TITLES: Final = (
    _ADDRESS,
    _NUMBERED_ITEM,
    _COUNTED,
    _IN_BRACKETS,
    _BEGINS_WITH_SIGN,
    _CODE,
    _STATEMENT,
    _LOGGED,
    _LEADER,
    _SPEAKS,
    _NOTE,
    _CLOSING,
)


def is_no_title(line: str) -> bool:
    """Whether a short line by itself shows that it is no title, whatever stands around it."""
    if any(pattern.fullmatch(line) for pattern in _NO_TITLES):
        return True
    labelled = _LABELLED.fullmatch(line)
    if labelled and not _NUMBERED.fullmatch(labelled[1]):
        return True
    is_loud = line == line.upper() and len(line.split()) >= _SENTENCE_WORDS
    return is_loud and bool(_OF_SENTENCES.search(line))
