"""Runs in the zygote: a process that has the parsers ready, and forks a child for each window.

It never opens a document. `process` is its life; what it forks goes on in `child`.
"""
