"""Runs in the zygote: a process that keeps the parsers loaded and forks a child for each window.

It never opens a document. `process` is its main loop; its forks go on in `child`.
"""
