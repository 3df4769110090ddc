"""`docmill schema webhook`."""

from docmill.cli.admin import admin_connection
from docmill.cli.context import settings_in_use
from docmill.cli.exit_code import ExitCode
from docmill.cli.output import cell, console, print_json
from docmill.worker.admin.doorbell import (
    Doorbell,
    install_doorbell,
    read_doorbell,
    remove_doorbell,
    rotate_secret,
)
from docmill.worker.errors import UsageError


def doorbell(url: str | None, *, rotate: bool, remove: bool, as_json: bool) -> int:
    """Install, change, rotate or remove the doorbell, then say what is installed."""
    if remove and (url is not None or rotate):
        raise UsageError("--remove takes no other option")
    made = None
    with admin_connection(settings_in_use()) as connection:
        if remove:
            remove_doorbell(connection)
        if url is not None:
            made = install_doorbell(connection, url)
        if rotate:
            made = rotate_secret(connection)
        installed = read_doorbell(connection)
    if as_json:
        print_json({**vars(installed), "new_secret": made})
    else:
        _print(installed)
        _print_secret(made, is_rotated=rotate)
    return ExitCode.FAILED if installed.problem else ExitCode.DONE


def _print(installed: Doorbell) -> None:
    out = console()
    if installed.url is None:
        out.print("No doorbell is installed: uploads are found by the schedule within seconds.")
        return
    out.print(f"The doorbell rings at {installed.url}")
    if installed.problem:
        out.print(f"It cannot ring now: {installed.problem}")
    if installed.failed_at:
        out.print(f"It failed last at {cell(installed.failed_at)}: {installed.failure}")


def _print_secret(secret: str | None, *, is_rotated: bool) -> None:
    if secret is None:
        return
    out = console()
    if is_rotated:
        out.print("A new secret signs from now on, beside the old one: both are accepted.")
    out.print(
        "\nSet this for docmill webhook and restart it. The secret is not shown again.\n"
        f"    DOCMILL_WEBHOOK_SIGNING_SECRETS={secret}"
    )
