"""The programs of peers that bench-peers runs, each in a venv of its own."""
