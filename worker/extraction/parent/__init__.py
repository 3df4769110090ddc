"""Runs in the worker: a child reads each window of a document, and nothing it says is trusted.

Begin with `guard`. Nothing here loads a parser, or anything of `child` or `zygote`.
"""
