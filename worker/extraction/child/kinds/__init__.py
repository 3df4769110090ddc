"""Readers of files; `registry` says which reads what.

One module or folder for each family of formats: `data`, `mail`, `ocr`, `office`, `pdf`, `text`,
`web`. `base` has their common form; the other modules help some of them.
"""
