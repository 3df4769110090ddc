"""From lines on a page to elements. Nothing here knows where the lines come from.

A PDF's text and what is recognised in a picture become elements in the same way: `layout` puts
lines in order, `paragraphs` puts them together, `elements` says what each of them is.
"""
