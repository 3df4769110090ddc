"""PDF through pdfium: lines with their place on the page, joined to paragraphs and titles.

`reading` is where it begins. `document` opens the file, `measure` asks pdfium where characters
stand, `lines` makes lines of them, `sample` finds out what ordinary text looks like, `scans` sees
to pages that are pictures, `notes` reads fields and comments.

Why not unstructured: its PDF reader takes several times as long (docs/measurements.md) and wants
torch for anything more.
"""
