"""Prose of our own in many languages, to write into the encodings that each of them was written in.

All speak of the same: a lease, a kitchen, a journey. What has to be longer goes through the same
sentences again, in another order.
"""

import random
from pathlib import Path

#: Signs that an encoding may lack, and what people type instead.
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
# Romanian is written with commas below; encodings before Unicode have cedillas.
_CEDILLAS = str.maketrans("\u0218\u0219\u021a\u021b", "\u015e\u015f\u0162\u0163")

_FILE = Path(__file__).parents[1] / "fixtures" / "prose.txt"
#: Sentences by the language they are in.
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
#: Encodings that files in a language are found in, beside those of all languages.
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
    """Languages with each of the encodings that files in them are found in."""
    return [
        (language, encoding) for language, own in WRITTEN_IN.items() for encoding in (*own, *_WIDE)
    ]


def prose(language: str, encoding: str, length: int, seed: int = 0) -> str:
    """A text that the encoding can write, of about so many bytes in it."""
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
    """The text as somebody types it who has only the characters of this encoding."""
    return "".join(_typed_character(character, encoding) for character in text)


def _typed_character(character: str, encoding: str) -> str:
    for form in (character, character.translate(_CEDILLAS), _PLAIN_SIGNS.get(character, "")):
        try:
            form.encode(encoding)
        except UnicodeEncodeError:
            continue
        return form
    return ""
