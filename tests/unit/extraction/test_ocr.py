"""What recognising a page may take."""

import time
from typing import NoReturn

import pytest

from docmill.worker.extraction.child.kinds import ocr


def test_a_page_that_takes_too_long_is_unread_whatever_the_engine_makes_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import numpy as np

    def engine(_pixels: object) -> NoReturn:
        try:
            while True:
                time.sleep(0.01)
        except Exception as error:
            raise RuntimeError("inference failed") from error

    monkeypatch.setattr(ocr, "_engine", lambda: engine)
    monkeypatch.setattr(ocr, "PAGE_SECONDS", 0.1)
    assert ocr.recognised(np.zeros((10, 10, 3), dtype=np.uint8)) == []
