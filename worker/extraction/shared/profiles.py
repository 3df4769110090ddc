"""Kinds of children, by what they may do in addition to reading.

A plain child reads each document first. If it cannot read the document alone, it names a profile,
and the worker starts a second child with this profile. It looks at that moment whether the extra or
program is installed, so a new installation is found at once.
"""

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from docmill.worker.extraction.shared.media_types import EML, MBOX, MSG, PDF

PLAIN, OCR, PANDOC, OFFICE = "plain", "ocr", "pandoc", "office"
SPECIAL = (OCR, PANDOC, OFFICE)
#: These start a program, which reads the document.
PROGRAMS = frozenset({PANDOC, OFFICE})

_OPENDOCUMENT = "application/vnd.oasis.opendocument"
#: The types that pandoc reads, with its own names.
PANDOC_FORMATS = {
    "text/x-rst": "rst",
    "text/x-org": "org",
}
#: The types that LibreOffice reads, with the ending that tells it the type.
OFFICE_ENDINGS = {
    "application/msword": "doc",
    "application/vnd.ms-powerpoint": "ppt",
    f"{_OPENDOCUMENT}.presentation": "odp",
    f"{_OPENDOCUMENT}.spreadsheet": "ods",
}
#: Types in which some pages or parts may be pictures.
MAY_HOLD_PICTURES = frozenset({PDF, EML, MBOX, MSG})
IMAGES = frozenset({"image/png", "image/jpeg", "image/tiff", "image/webp"})


@dataclass(frozen=True)
class Need:
    """What a media type needs in addition to the base installation."""

    profile: str
    remedy: str


_NEEDS = {
    OCR: "install docmill with the extra ocr",
    PANDOC: "install pandoc, or docmill with the extra pandoc",
    OFFICE: "install LibreOffice",
}


def need_of(media_type: str) -> Need | None:
    """What a type needs; None if the base installation reads it or the type is unknown."""
    profile = profile_of(media_type)
    return Need(profile, _NEEDS[profile]) if profile != PLAIN else None


def profile_of(media_type: str) -> str:
    """The kind of child that reads this type."""
    if media_type in IMAGES:
        return OCR
    if media_type in PANDOC_FORMATS:
        return PANDOC
    return OFFICE if media_type in OFFICE_ENDINGS else PLAIN


def is_wanted(profile: object, media_type: str) -> bool:
    """Whether a plain child may ask for this profile after it found this type."""
    if profile == OCR and media_type in MAY_HOLD_PICTURES:
        return True
    return profile != PLAIN and profile == profile_of(media_type)


def is_available(profile: str) -> bool:
    """Whether everything that the profile needs is installed now."""
    if profile == OCR:
        return all(find_spec(name) is not None for name in ("rapidocr", "onnxruntime"))
    return profile == PLAIN or program_of(profile) is not None


def available() -> tuple[str, ...]:
    """The profiles, except the plain one, whose extra or program is installed now."""
    return tuple(profile for profile in SPECIAL if is_available(profile))


def program_of(profile: str) -> str | None:
    """Path of the program that a profile starts."""
    if profile == OFFICE:
        return soffice()
    return pandoc() if profile == PANDOC else None


def pandoc() -> str | None:
    """Path of pandoc: the system's program, else the one of the extra."""
    found = shutil.which("pandoc")
    if found is not None:
        return found
    spec = find_spec("pypandoc")
    if spec is None or spec.origin is None:
        return None
    carried = Path(spec.origin).parent / "files" / "pandoc"
    return str(carried) if os.access(carried, os.X_OK) else None


def soffice() -> str | None:
    """Path of LibreOffice."""
    return shutil.which("soffice") or shutil.which("libreoffice")
