"""The exit codes of commands."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit code says. Documented in docs/commands.md."""

    DONE = 0  #: did what was asked
    FAILED = 1  #: did it, but part of the result failed or is wrong
    USAGE = 2  #: the command line is wrong
    ENVIRONMENT = 3  #: a setting, a service or the schema is missing or wrong
    INTERNAL = 70  #: an error that docmill does not know
    INTERRUPTED = 130  #: Ctrl-C
    TERMINATED = 143  #: SIGTERM; for every signal 128 plus its number
