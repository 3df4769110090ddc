"""Guesses which encoding from before Unicode a text has.

A detector that knows languages weighs the candidates. One rule comes before it and one after it.
Before: a few characters are too little for statistics, so a text in plain letters with some £ or é
is Windows-1252, unless that is impossible. After: a result with control characters, or with words
that mix Latin and Greek letters, is wrong.
"""

import re

import chardet

#: Common encodings, from browsers and mail. The detector also knows dozens of others, and sometimes
#: mistakes ten words for one of them; with only these it does not.
_COMMON = (
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("iso8859-2", "iso8859-5", "iso8859-6", "iso8859-7", "iso8859-8", "iso8859-13", "iso8859-15"),
    *("koi8-r", "koi8-u", "cp866", "cp874", "tis-620"),
    *("cp932", "euc_jis_2004", "cp949", "gb18030", "big5hkscs"),
)
#: Encodings of DOS and of old Macintoshes, which count only for longer texts.
_RARE = ("mac-roman", "mac-latin2", "mac-cyrillic", "cp437", "cp850", "cp852")
_ENOUGH_FOR_RARE = 24
#: If only one letter in this many is not ASCII, it belongs to a foreign word: except in English, no
#: language uses its own letters so rarely.
_RARE_LETTERS = 25
_FEW_LETTERS = 3
_DEFAULT = "cp1252"
#: Prefers the likelier encoding if the detector sees almost no difference.
_WESTERN_PRIOR = 1.15
_PRIORS = {"iso8859-13": 0.95, "iso8859-8": 0.9, "iso8859-5": 0.9, "tis-620": 0.9}

#: A sample may begin or end within a character, so a few broken ones are allowed.
_LEAST_PER_BROKEN = 200

_CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f\ufffe\uffff]")
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
_BEYOND = r"\xc0-\xd6\xd8-\xf6\xf8-\xff\u0152\u0153\u0160\u0161\u0178\u017d\u017e"
_LETTER = rf"[A-Za-z{_BEYOND}]"
_LETTERS = re.compile(_LETTER)
_LETTERS_BEYOND_ASCII = re.compile(rf"[{_BEYOND}]")
_SIGNS = r"\xa2-\xa8\xac\xaf\xb2-\xb4\xb6\xb8\xb9\xbc-\xbe\xd7\xf7\u2020\u2021\u2030\u02c6\u02dc"
#: Not in Western texts: symbols within or before words, capitals within words, words without any
#: ASCII letter, letters of Icelandic.
_NOT_WESTERN = re.compile(
    rf"{_LETTER}[{_SIGNS}\xa1\xa9\xab\xae\xb0\xb1\xbb\xbf]{_LETTER}|[{_SIGNS}]{_LETTER}"
    rf"|{_LETTER}[\xa1\xbf]|[\xa1\xbf](?!\s?\w)"
    rf"|[a-z\xdf-\xff][\xc0-\xd6\xd8-\xde\u0160\u017d\u0152]"
    rf"|(?<!{_LETTER})[{_BEYOND}]{{2,}}(?!{_LETTER})"
    r"|[\xd0\xf0\xde\xfe\u0178\xff\u0192\xdd\xfd]"
)
#: The euro sign, and letters of French and Finnish, of a text in ISO-8859-15 that is read as
#: Windows-1252.
_LATIN_9 = re.compile(rf"\xa4|{_LETTER}[\xa6\xa8\xb4\xb8\xbc\xbd\xbe]{_LETTER}")
_OTHER_SCRIPTS = r"\u0370-\u03ff\u0400-\u052f\u0590-\u05ff\u0600-\u06ff\u0e00-\u0e7f"
_OTHER_LETTERS = re.compile(rf"[{_OTHER_SCRIPTS}]")
_MIXED_WORD = re.compile(rf"[A-Za-z][{_OTHER_SCRIPTS}]|[{_OTHER_SCRIPTS}][A-Za-z]")
#: Mixed words do occur, in names of products.
_MAX_MIXED = 0.05


def best_guess(sample: bytes) -> str:
    """Python's name of the encoding of a part of a text. Never raises."""
    western = sample.decode(_DEFAULT, errors="replace")
    is_western = reads_as_text(western) and not _NOT_WESTERN.search(western)
    if is_western and _has_few_letters(western):
        return _DEFAULT
    found = _DEFAULT
    for name in _by_likelihood(sample, _WESTERN_PRIOR if is_western else 1):
        if _may_be(sample, name):
            found = name
            break
    return "iso8859-15" if found == _DEFAULT and _LATIN_9.search(western) else found


def _by_likelihood(sample: bytes, western_prior: float) -> list[str]:
    enough = len(_BEYOND_ASCII.findall(sample)) >= _ENOUGH_FOR_RARE
    candidates = (*_COMMON, *_RARE) if enough else _COMMON
    found = chardet.detect_all(
        sample, ignore_threshold=True, include_encodings=candidates, compat_names=False
    )
    priors = {**_PRIORS, _DEFAULT: western_prior}
    likely = {
        name: one["confidence"] * priors.get(name, 1)
        for one in found
        if (name := one["encoding"]) is not None and name in candidates
    }
    return sorted(likely, key=likely.__getitem__, reverse=True)


def _may_be(sample: bytes, name: str) -> bool:
    text = sample.decode(name, errors="replace")
    return text.count("\ufffd") * _LEAST_PER_BROKEN <= len(text) and reads_as_text(text)


def reads_as_text(text: str) -> bool:
    """Whether it has no control characters, and almost no words of two scripts."""
    if _CONTROLS.search(text):
        return False
    letters = len(_OTHER_LETTERS.findall(text))
    return len(_MIXED_WORD.findall(text)) <= _MAX_MIXED * letters


def _has_few_letters(text: str) -> bool:
    beyond_ascii = len(_LETTERS_BEYOND_ASCII.findall(text))
    is_rare = beyond_ascii * _RARE_LETTERS <= len(_LETTERS.findall(text))
    return beyond_ascii <= _FEW_LETTERS and is_rare
