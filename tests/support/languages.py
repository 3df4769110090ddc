"""Texts in many languages, to write in the encodings that are used for each language.

All have the same subjects: a lease, a kitchen, a journey. Longer texts repeat the sentences in
another order.
"""

import random
from pathlib import Path

#: Signs that an encoding may lack, and their usual replacements.
_PLAIN_SIGNS = {
    "\u2019": "'",
    "\u2018": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u201e": '"',
    "\u00ab": '"',
    "\u00bb": '"',
    "\u2013": "-",
    "\u2014": "-",
    "\u2026": "...",
    "\u20ac": "EUR",
    "\u00a3": "GBP",
    "\u00b0": " deg.",
    "\u2116": "No.",
}
# Romanian has letters with commas here; encodings before Unicode have cedillas.
_CEDILLAS = str.maketrans("\u0218\u0219\u021a\u021b", "\u015e\u015f\u0162\u0163")

_FILE = Path(__file__).parents[1] / "fixtures" / "prose.txt"
#: Sentences by language.
SENTENCES = {
    section[0].strip("[]"): section[1:]
    for section in (text.split("\n") for text in _FILE.read_text("utf-8").strip().split("\n\n"))
}

_WESTERN = ("cp1252", "iso8859-1", "iso8859-15")
_CENTRAL = ("cp1250", "iso8859-2")
_CYRILLIC = ("cp1251", "koi8-r", "iso8859-5", "cp866")
_BALTIC = ("cp1257", "iso8859-13")
_WITHOUT_SPACES = ("ja", "zh-hans", "zh-hant")
_WIDE = ("utf-8", "utf-16", "utf-16-le", "utf-16-be")
#: Encodings of files in a language, beside those that all languages use.
WRITTEN_IN = {
    **dict.fromkeys(("en", "de", "fr", "es", "pt", "it", "nl", "sv", "fi", "da"), _WESTERN),
    **dict.fromkeys(("pl", "cs", "hu", "ro", "hr"), _CENTRAL),
    "tr": ("cp1254", "iso8859-9"),
    "ru": _CYRILLIC,
    "uk": ("cp1251", "koi8-u"),
    "bg": ("cp1251", "iso8859-5"),
    "el": ("cp1253", "iso8859-7"),
    "he": ("cp1255", "iso8859-8"),
    "ar": ("cp1256", "iso8859-6"),
    "lt": _BALTIC,
    "lv": _BALTIC,
    "et": ("cp1257", "cp1252"),
    "ja": ("shift_jis", "euc_jp", "iso2022_jp"),
    "zh-hans": ("gbk", "gb18030", "hz"),
    "zh-hant": ("big5", "gb18030"),
    "ko": ("euc_kr", "iso2022_kr"),
    "th": ("tis-620",),
}


def pairs() -> list[tuple[str, str]]:
    """Each language with each encoding that is used for it."""
    return [
        (language, encoding) for language, own in WRITTEN_IN.items() for encoding in (*own, *_WIDE)
    ]


def prose(language: str, encoding: str, length: int, seed: int = 0) -> str:
    """A text that fits the encoding and has about this many bytes in it."""
    joint = "" if language in _WITHOUT_SPACES else " "
    sentences = list(SENTENCES[language])
    chosen = random.Random(f"{language} {seed}")
    text = ""
    while len(text.encode(encoding, errors="ignore")) < length:
        chosen.shuffle(sentences)
        text += joint.join([*sentences, ""])
    text = typed(text, encoding)
    while len(text.encode(encoding)) > length and len(text) > 1:
        over = len(text.encode(encoding)) - length
        text = text[: -max(1, over // 4)]
    return text


def typed(text: str, encoding: str) -> str:
    """The text as people type it if they have only the characters of this encoding."""
    return "".join(_typed_character(character, encoding) for character in text)


def _typed_character(character: str, encoding: str) -> str:
    for form in (character, character.translate(_CEDILLAS), _PLAIN_SIGNS.get(character, "")):
        try:
            form.encode(encoding)
        except UnicodeEncodeError:
            continue
        return form
    return ""
