"""Equations of Office as one line of text, as people would type them: `A=πr^2`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from docmill.worker.extraction.child.kinds.ooxml.names import M, W, is_on

_TEXTS = frozenset({f"{M}t", f"{W}t"})


@dataclass(frozen=True)
class _Form:
    """One construct of an equation, with the texts of its parts."""

    node: Any
    texts: dict[Any, str]

    def each(self, name: str) -> list[str]:
        """Texts of all parts of that name."""
        return [self.texts.get(part, "") for part in self.node.iterchildren(f"{M}{name}")]

    def part(self, name: str) -> str:
        """Text of the part of that name."""
        return "".join(self.each(name))

    def setting(self, name: str, default: str) -> str:
        """A setting from the construct's properties."""
        for properties in self.node.iterchildren(f"{self.node.tag}Pr"):
            for found in properties.iterchildren(f"{M}{name}"):
                return str(found.get(f"{M}val", default))
        return default


def linear(equation: Any) -> str:
    """The text of an `m:oMath` or `m:oMathPara`. Each letter occurs once."""
    texts: dict[Any, str] = {}
    # Inner parts come before the outer ones, at any depth.
    for node in reversed(list(equation.iter())):
        if isinstance(node.tag, str):
            texts[node] = _text_of(node, texts)
    return texts[equation].strip()


def _text_of(node: Any, texts: dict[Any, str]) -> str:
    if node.tag in _TEXTS:
        return node.text or ""
    name = node.tag.removeprefix(M)
    if name != node.tag and name.endswith("Pr"):
        return ""
    write = _WRITERS.get(name)
    if write is not None:
        return write(_Form(node, texts))
    return "".join(texts.get(child, "") for child in node)


def _grouped(text: str) -> str:
    """The text in brackets, unless it is one number, word or sign."""
    return text if len(text) < 2 or text.isalnum() else f"({text})"


def _script(sign: str, text: str) -> str:
    return sign + _grouped(text) if text else ""


def _fraction(form: _Form) -> str:
    return f"{_grouped(form.part('num'))}/{_grouped(form.part('den'))}"


def _with_scripts(form: _Form) -> str:
    return form.part("e") + _script("_", form.part("sub")) + _script("^", form.part("sup"))


def _after_scripts(form: _Form) -> str:
    return _script("_", form.part("sub")) + _script("^", form.part("sup")) + form.part("e")


def _large_operator(form: _Form) -> str:
    return form.setting("chr", "∫") + _after_scripts(form)


def _root(form: _Form) -> str:
    degree = form.part("deg")
    return f"√({degree}&{form.part('e')})" if degree else f"√{_grouped(form.part('e'))}"


def _function(form: _Form) -> str:
    return f"{form.part('fName')} {form.part('e')}"


def _delimited(form: _Form) -> str:
    separator = form.setting("sepChr", "|")
    return (
        form.setting("begChr", "(") + separator.join(form.each("e")) + form.setting("endChr", ")")
    )


def _accented(form: _Form) -> str:
    return form.part("e") + form.setting("chr", "\u0302")


def _limit_below(form: _Form) -> str:
    return form.part("e") + _script("_", form.part("lim"))


def _limit_above(form: _Form) -> str:
    return form.part("e") + _script("^", form.part("lim"))


def _phantom(form: _Form) -> str:
    return form.part("e") if is_on(form.setting("show", "1")) else ""


_WRITERS: dict[str, Callable[[_Form], str]] = {
    "acc": _accented,
    "d": _delimited,
    "eqArr": lambda form: "; ".join(form.each("e")),
    "f": _fraction,
    "func": _function,
    "limLow": _limit_below,
    "limUpp": _limit_above,
    "m": lambda form: f"[{'; '.join(form.each('mr'))}]",
    "mr": lambda form: ", ".join(form.each("e")),
    "nary": _large_operator,
    "oMathPara": lambda form: "; ".join(filter(None, form.each("oMath"))),
    "phant": _phantom,
    "rad": _root,
    "sPre": _after_scripts,
    "sSub": _with_scripts,
    "sSubSup": _with_scripts,
    "sSup": _with_scripts,
}
