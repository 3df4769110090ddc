"""Signs of the fonts Symbol and Wingdings, which Word writes as numbers of the font."""

#: The Greek of Adobe's Symbol font, at the places of A to Z and a to z.
_GREEK = dict(
    zip(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        "ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖαβχδεφγηιϕκλμνοπθρστυϖωξψζ",
        strict=True,
    )
)
_SYMBOL = {
    0xA3: "≤", 0xA5: "∞", 0xAB: "↔", 0xAC: "←", 0xAD: "↑", 0xAE: "→", 0xAF: "↓", 0xB0: "°",
    0xB1: "±", 0xB3: "≥", 0xB4: "\u00d7", 0xB5: "∝", 0xB7: "•", 0xB8: "÷", 0xB9: "≠", 0xBA: "≡",
    0xBB: "≈", 0xC5: "⊕", 0xC6: "∅", 0xC7: "∩", 0xC8: "\u222a", 0xCE: "∈", 0xD0: "∠", 0xD2: "®",
    0xD3: "©", 0xD4: "™", 0xD6: "√", 0xD7: "⋅", 0xE5: "∑", 0xF2: "∫",
}  # fmt: skip
_WINGDINGS = {
    0x6E: "■", 0x6F: "□", 0xA7: "▪", 0xA8: "☐", 0xD8: "➢", 0xE0: "→", 0xE8: "→", 0xFB: "✗",
    0xFC: "✓", 0xFD: "☒", 0xFE: "☑",
}  # fmt: skip
_PRIVATE = range(0xF000, 0xF100)


def symbol(font: str, number: str) -> str:
    """The sign with this hexadecimal number; empty if no letter stands for it."""
    try:
        code = int(number, 16)
    except ValueError:
        return ""
    if code in _PRIVATE:
        code -= _PRIVATE.start
    elif code > 0xFF:
        return chr(code) if code < 0xD800 or 0xF8FF < code < 0x110000 else ""
    name = font.lower()
    if name == "symbol":
        return _SYMBOL.get(code) or _GREEK.get(chr(code), chr(code) if 0x20 <= code < 0x7F else "")
    if name.startswith("wingdings"):
        return _WINGDINGS.get(code, "")
    return chr(code) if 0x20 <= code < 0x7F or code >= 0xA0 else ""
