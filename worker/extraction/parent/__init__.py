"""Runs in the worker: has a child read each window of a document, and believes nothing it says.

Begin with `guard`. No parser is loaded here, and nothing of `child` or `zygote`.
"""
