"""PDF through pdfium: lines with their place on the page, joined to paragraphs and titles.

Begin with `reading`. `document` opens the file, `measure` asks pdfium for the places of characters,
`lines` makes lines of them, `sample` finds how ordinary text looks, `scans` reads pages that are
pictures, `notes` reads fields and comments.

unstructured is not used: its PDF reader takes several times as long (docs/measurements.md), and
needs torch for its other features.
"""
