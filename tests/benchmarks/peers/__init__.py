"""The programs of peers that bench-peers runs, each in its own venv."""
