"""One module per family of formats; `registry` says which reads what.

Nothing is imported here: the worker needs `base` and must not load a parser.
"""
