"""EPUB: the chapters of a book in its order, each read as a web page."""

import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from lxml import etree  # type: ignore[import-untyped]  # ships no types

from docmill.worker.errors import JobError
from docmill.worker.extraction.child.archive import check_archive, check_unlocked
from docmill.worker.extraction.child.encodings import decode
from docmill.worker.extraction.child.kinds.base import Reading, Source
from docmill.worker.extraction.child.kinds.web import html_reading
from docmill.worker.extraction.shared.parts import ReadPart

_CONTAINER = "META-INF/container.xml"
_PACKAGE_ENDING = ".opf"
_PAGES = frozenset({"application/xhtml+xml", "text/html", "text/x-oeb1-document"})


def read_epub(source: Source) -> Reading:
    """All chapters that the book names, in the order of its spine. Raises JobError."""
    check_archive(source.file)
    check_unlocked(source.file)
    archive = zipfile.ZipFile(source.file)
    path = _package_path(archive)
    package = _root(archive, path)
    if package is None:
        raise JobError("corrupt", "EPUB without a package")
    title = next(package.iter("{*}title"), None)
    return Reading(
        _chapters(archive, list(dict.fromkeys(_spine(package, posixpath.dirname(path))))),
        title="".join(title.itertext()).strip() or None if title is not None else None,
    )


def _package_path(archive: zipfile.ZipFile) -> str:
    container = _root(archive, _CONTAINER)
    named = container.iter("{*}rootfile") if container is not None else ()
    paths = [found.get("full-path", "") for found in named]
    paths += [name for name in archive.namelist() if name.lower().endswith(_PACKAGE_ENDING)]
    return next(filter(None, paths), "")


def _spine(package: Any, folder: str) -> Iterator[str]:
    """The paths of the chapters in the archive."""
    pages = {
        item.get("id"): posixpath.normpath(posixpath.join(folder, unquote(item.get("href", ""))))
        for item in package.iter("{*}item")
        if item.get("media-type") in _PAGES
    }
    for place in package.iter("{*}itemref"):
        if place.get("idref") in pages:
            yield pages[place.get("idref")]


def _chapters(archive: zipfile.ZipFile, paths: list[str]) -> Iterator[ReadPart]:
    for path in paths:
        try:
            data = archive.read(path)
        except KeyError:  # a chapter that is not there
            continue
        yield from html_reading(decode(data, html=True), is_site=False).parts


def _root(archive: zipfile.ZipFile, path: str) -> Any:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, recover=True)
    try:
        return etree.fromstring(archive.read(path), parser)
    except (KeyError, etree.XMLSyntaxError):
        return None
