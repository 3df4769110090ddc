"""From lines on a page to elements. Nothing here knows where the lines come from.

The text of a PDF and the recognised text of a picture become elements in the same way: `layout`
puts lines in order, `paragraphs` joins them, `elements` finds the category of each.
"""
