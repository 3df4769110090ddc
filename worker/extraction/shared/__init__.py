"""Runs in the worker, in the zygote and in children: what they say to each other, and its words.

No parser is loaded here.
"""
