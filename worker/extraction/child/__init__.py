"""Runs in a child: reads one window of one document, whoever wrote it, and ends.

`life` is the order of it: `sandbox` and `seccomp` take away what no reading needs, `sniff` tells
what the file is, a module of `kinds` reads it. Nothing is imported here: the zygote needs `sandbox`
before it may load a parser.
"""
