"""`python -m docmill`."""

from docmill.cli.entry import main

main()
