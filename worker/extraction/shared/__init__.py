"""Runs in the worker, in the zygote and in children: their messages, and common words.

Nothing here loads a parser.
"""
