"""Rewrites unusual Office files into the usual form, because readers know only that form.

Strict files have namespaces of their own, macro files and templates have another type, damaged
files refer to missing parts, and some programs write names with backslashes.
"""

import posixpath
import re
import tempfile
import zipfile
from collections.abc import Callable
from typing import BinaryIO
from urllib.parse import unquote

from lxml import etree  # type: ignore[import-untyped]  # ships no types

_TYPES = "[Content_Types].xml"
_STRICT = re.compile(
    rb"""((?:xmlns(?::[\w.-]+)?|Type)\s*=\s*["'])http://purl\.oclc\.org/ooxml/(\w+)"""
)
_TRANSITIONAL = rb"\1http://schemas.openxmlformats.org/\2/2006"
#: Types of the main parts of macro files, templates and shows, which become those of plain files.
_MAIN_TYPES = re.compile(
    rb"application/vnd\.(?:ms-word\.(?:document|template)\.macroEnabled(?:Template)?"
    rb"|openxmlformats-officedocument\.wordprocessingml\.template)\.main\+xml"
    rb"|application/vnd\.(?:ms-powerpoint\.(?:presentation|slideshow|template)\.macroEnabled"
    rb"|openxmlformats-officedocument\.presentationml\.(?:slideshow|template))\.main\+xml",
    re.IGNORECASE,
)
_PLAIN_WORD = b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
_PLAIN_SLIDES = (
    b"application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml"
)
#: Parts that nobody reads, which are left out of the new file.
_UNREAD = frozenset(
    {"bin", "bmp", "emf", "fntdata", "gif", "jpeg", "jpg", "m4a", "mov", "mp3", "mp4", "odttf"}
    | {"png", "svg", "tif", "tiff", "wav", "wdp", "wmf", "wmv"}
)
_XML = frozenset({"rels", "vml", "xml"})
_DECLARED = "{http://schemas.openxmlformats.org/package/2006/content-types}Override"
_REFERENCE = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"


def plain_package(file: BinaryIO) -> BinaryIO:
    """The file itself if it has the usual form; otherwise a new file in the usual form.

    A broken archive may raise anything. Pictures, sounds and fonts are empty in the new file.
    """
    file.seek(0)
    with zipfile.ZipFile(file) as package:
        names = {_usual_name(name): name for name in package.namelist()}
        if _is_usual(package, names):
            file.seek(0)
            return file
        plain = tempfile.TemporaryFile()  # noqa: SIM115 -- it is what is returned
        with zipfile.ZipFile(plain, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as written:
            for usual, name in names.items():
                if not usual.endswith("/"):
                    written.writestr(usual, _usual_part(package, names, usual, name))
    plain.seek(0)
    return plain


def targets_of(package: zipfile.ZipFile, part: str) -> dict[str, str]:
    """The parts that a part refers to, by its names for them; of no part: the package itself."""
    folder, name = posixpath.split(part)
    try:
        root = _parsed(package.read(posixpath.join(folder, "_rels", f"{name}.rels")))
    except (KeyError, etree.XMLSyntaxError):
        return {}
    return {
        reference.get("Id", ""): _whole_path(reference.get("Target", ""), folder)
        for reference in root.iterchildren(_REFERENCE)
        if reference.get("TargetMode") != "External"
    }


def _whole_path(target: str, folder: str) -> str:
    path = target.partition("#")[0].replace("\\", "/")
    return posixpath.normpath(posixpath.join("/", folder, path)).lstrip("/")


def _usual_name(name: str) -> str:
    return name.replace("\\", "/").lstrip("/")


def _is_usual(package: zipfile.ZipFile, names: dict[str, str]) -> bool:
    if any(usual != name for usual, name in names.items()) or _TYPES not in names:
        return False
    types = package.read(_TYPES)
    if _MAIN_TYPES.search(types) or _missing(_parsed(types), names):
        return False
    references = [name for name in names if name.endswith(".rels")]
    return all(_is_usual_reference(package.read(name), name, names) for name in references)


def _is_usual_reference(data: bytes, name: str, names: dict[str, str]) -> bool:
    return b"purl.oclc.org" not in data and not _dangling(_parsed(data), name, names)


def _usual_part(package: zipfile.ZipFile, names: dict[str, str], usual: str, name: str) -> bytes:
    ending = usual.rpartition(".")[2].lower()
    if ending in _UNREAD:
        return b""
    data = package.read(name)
    if ending not in _XML:
        return data
    data = _STRICT.sub(_TRANSITIONAL, data)
    if usual == _TYPES:
        return _without(_parsed(_MAIN_TYPES.sub(_plain_main_type, data)), _missing, names)
    if ending != "rels":
        return data
    return _without(_parsed(data), lambda root, names: _dangling(root, usual, names), names)


def _plain_main_type(found: re.Match[bytes]) -> bytes:
    return _PLAIN_WORD if b"word" in found[0] else _PLAIN_SLIDES


def _without(
    root: etree._Element,
    find: Callable[[etree._Element, dict[str, str]], list[etree._Element]],
    names: dict[str, str],
) -> bytes:
    for found in find(root, names):
        root.remove(found)
    return bytes(etree.tostring(root))


def _missing(root: etree._Element, names: dict[str, str]) -> list[etree._Element]:
    """Types of parts that are not in the package."""
    return [
        declared
        for declared in root.iterchildren(_DECLARED)
        if not _is_there(declared.get("PartName", ""), "", names)
    ]


def _parsed(data: bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    return etree.fromstring(data, parser)


def _dangling(root: etree._Element, name: str, names: dict[str, str]) -> list[etree._Element]:
    """References to parts that are not in the package."""
    # word/_rels/document.xml.rels belongs to a part in word.
    folder = posixpath.dirname(posixpath.dirname(name))
    return [
        reference
        for reference in root.iterchildren(_REFERENCE)
        if reference.get("TargetMode") != "External"
        and not _is_there(reference.get("Target", ""), folder, names)
    ]


def _is_there(target: str, folder: str, names: dict[str, str]) -> bool:
    whole = _whole_path(target, folder)
    return whole in names or unquote(whole) in names
