"""Sample documents of several kinds, which the demo makes for two people with two subjects."""

import csv
import json
from collections.abc import Callable, Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import Final

#: (query, words that a correct hit contains) for each person.
ALICE_QUERIES: Final = (
    ("How long does the sourdough rest in the fridge?", "eighteen hours"),
    ("What happens when the oven door sensor fails?", "error E7"),
    ("price of a rye loaf", "4.80"),
)
BOB_QUERIES: Final = (
    ("When is the best time to see the Perseids?", "twelfth of August"),
    ("Which eyepiece should a beginner buy?", "25 millimetre"),
    ("Who keeps the key of the observatory?", "Marta"),
)

_HANDBOOK: Final = """# Harbour Bakery handbook

## Sourdough

Feed the starter every morning with equal parts of flour and water. After shaping, the loaves
rest in the fridge for eighteen hours at four degrees. Shorter and the crumb stays tight, longer
and the dough loses its strength.

## Opening the shop

The first person in switches on the ovens at four in the morning and checks the delivery list.

- Count the change in the till.
- Put yesterday's bread in the charity box.
- Unlock the side door for the milk delivery.

## Allergens

Rye, wheat and spelt contain gluten. The walnut bread and the brownies contain nuts. Keep their
trays on the lowest shelf so that nothing falls on other bread.
"""

_FAQ: Final = """<!doctype html><html><head><title>Questions from customers</title></head><body>
<h1>Questions from customers</h1>
<h2>Can I order a cake?</h2>
<p>Yes. Order cakes three days before you need them, by telephone or at the counter. We ask for
half of the price when you order.</p>
<h2>Do you sell gluten-free bread?</h2>
<p>No. We bake everything in one room and flour is in the air, so we promise nothing of the
kind.</p>
</body></html>
"""

_OVEN_PAGES: Final = (
    (
        "Deck oven: operation",
        (
            "Turn the main switch to one and wait until the lamp is green. Preheating to 250 "
            "degrees takes forty minutes. Use the steam button for three seconds after loading, "
            "never longer, because water on the stone makes it crack."
        ),
    ),
    (
        "Deck oven: faults",
        (
            "When the sensor of the oven door fails, the display shows error E7 and the heating "
            "switches off. Close the door firmly, then hold the reset button for five seconds. If "
            "the fault stays, call the service and bake in the small oven."
        ),
    ),
)

_MINUTES: Final = (
    ("Night Sky Club: minutes of the spring meeting", None),
    ("Observatory", None),
    (
        None,
        (
            "Marta keeps the key of the observatory from now on. Whoever wants to use the large "
            "telescope writes to her a day before, and sweeps the dome afterwards."
        ),
    ),
    ("Money", None),
    (None, "The club has 1,240 euros. The new mirror cell costs 310 euros and is approved."),
)

_SLIDES: Final = (
    (
        "Buying your first eyepiece",
        (
            "A beginner should buy a 25 millimetre eyepiece first: a wide view, easy to find "
            "things, comfortable with glasses."
        ),
    ),
    (
        "What magnification really does",
        (
            "High magnification makes the image dark and shaky. Most nights the air allows no more "
            "than 150 times."
        ),
    ),
)

_PERSEIDS: Final = """Watching the Perseids

The Perseids are best on the night of the twelfth of August, after midnight, when their radiant
stands high. Lie down, look up, and give your eyes twenty minutes to get used to the dark. A
telescope is of no use: meteors cross half the sky in a second.

Bring a blanket and something warm to drink. Red light only, please.
"""


def _write_mail(path: Path) -> None:
    mail = EmailMessage()
    mail["From"] = "Mill by the River <orders@mill.example>"
    mail["To"] = "Harbour Bakery <hello@bakery.example>"
    mail["Subject"] = "Delivery of flour in December"
    mail.set_content(
        "Dear Alice,\n\nin December we deliver on Tuesdays and Fridays before six. On the 24th and "
        "31st there is no delivery, so please order for three days.\n\nKind regards\nThe mill\n"
    )
    path.write_bytes(bytes(mail))


def _write_prices(path: Path) -> None:
    from openpyxl import Workbook

    workbook = Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet.title = "Prices"
    for row in (
        ("Bread", "Weight", "Price in euros"),
        ("Rye loaf", "1000 g", "4.80"),
        ("Spelt loaf", "750 g", "5.20"),
        ("Walnut bread", "500 g", "4.40"),
        ("Roll", "60 g", "0.70"),
    ):
        sheet.append(row)
    workbook.save(path)


def _write_minutes(path: Path) -> None:
    from docx import Document

    document = Document()
    for position, (heading, text) in enumerate(_MINUTES):
        if heading:
            document.add_heading(heading, level=1 if position == 0 else 2)
        if text:
            document.add_paragraph(text)
    document.save(str(path))


def _write_slides(path: Path) -> None:
    from pptx import Presentation

    presentation = Presentation()
    for title, text in _SLIDES:
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = text
    presentation.save(str(path))


def _write_log(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("date", "object", "observer", "note"))
        writer.writerow(("2026-03-02", "M42", "Bob", "nebula bright, trapezium split at 80x"))
        writer.writerow(("2026-03-09", "Jupiter", "Marta", "shadow of Io on the northern belt"))
        writer.writerow(("2026-04-11", "M51", "Bob", "two faint patches, no spiral seen"))


def _write_inventory(path: Path) -> None:
    path.write_text(
        json.dumps(
            [
                {"item": "Dobson telescope", "aperture": "300 mm", "place": "observatory"},
                {"item": "Binoculars 10x50", "count": 3, "place": "cupboard"},
            ],
            indent=1,
        )
    )


def write_pdf(path: Path, pages: Sequence[tuple[str, str]]) -> None:
    """Write a PDF; each page has a title and a paragraph in Helvetica (PDF 1.4, ISO 32000-1)."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, (title, text) in enumerate(pages):
        stream = _page_stream(title, text)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    content = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(content))
        content += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    trailer = (
        f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
        f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(content)}\n%%EOF\n"
    )
    path.write_bytes(content + trailer.encode("latin-1"))


def _page_stream(title: str, text: str) -> str:
    lines, line = [], ""
    for word in text.split():
        if len(line) + len(word) > 80:
            lines.append(line)
            line = ""
        line += word + " "
    shown = " ".join(f"({part.strip()}) Tj T*" for part in [*lines, line])
    return f"BT /F1 20 Tf 60 780 Td ({title}) Tj /F1 11 Tf 14 TL 0 -32 Td {shown} ET"


_ALICE: Final[dict[str, Callable[[Path], object]]] = {
    "handbook.md": lambda path: path.write_text(_HANDBOOK),
    "questions.html": lambda path: path.write_text(_FAQ),
    "oven-manual.pdf": lambda path: write_pdf(path, _OVEN_PAGES),
    "prices.xlsx": _write_prices,
    "flour-delivery.eml": _write_mail,
}
_BOB: Final[dict[str, Callable[[Path], object]]] = {
    "minutes.docx": _write_minutes,
    "eyepieces.pptx": _write_slides,
    "perseids.txt": lambda path: path.write_text(_PERSEIDS),
    "observations.csv": _write_log,
    "inventory.json": _write_inventory,
}


def write_samples(folder: Path) -> tuple[Path, Path]:
    """Write both people's documents; returns their folders, Alice's first."""
    folders = []
    for name, documents in (("alice", _ALICE), ("bob", _BOB)):
        own = folder / name
        own.mkdir(parents=True)
        for file_name, write in documents.items():
            write(own / file_name)
        folders.append(own)
    return folders[0], folders[1]
