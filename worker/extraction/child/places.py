"""Says where an exception was raised, in words that may be logged."""

from pathlib import Path


def place_of(error: Exception) -> str:
    """Type and place of an exception, without its message, which may quote the document."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None:
        return type(error).__name__
    module = Path(place.tb_frame.f_code.co_filename).stem
    return f"{type(error).__name__} in {module} line {place.tb_lineno}"
