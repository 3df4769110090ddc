"""Runs in a child: reads one window of one untrusted document, and ends.

`life` is its main function: `sandbox` and `seccomp` take away all rights that reading does not
need, `sniff` finds the type of the file, and a module of `kinds` reads it. Nothing is imported
here, because the zygote needs `sandbox` before it may load a parser.
"""
