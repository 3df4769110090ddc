"""The long-running processes."""

from importlib.util import find_spec

from docmill.cli.context import settings_in_use, settings_of_redis
from docmill.worker.errors import ServiceError


def worker(*, isolated: bool) -> int:
    """Run jobs until a signal."""
    from docmill.worker.log import configure_logging
    from docmill.worker.processes.worker import run_worker

    settings = settings_in_use()
    configure_logging(log_format=settings.log_format, level=settings.log_level)
    return run_worker(settings, isolated=isolated)


def webhook() -> int:
    """Receive events until a signal."""
    from docmill.worker.processes.webhook import run_webhook

    return run_webhook(settings_in_use())


def beat() -> int:
    """Send the schedule's messages until a signal."""
    from docmill.worker.processes.beat import run_beat

    return run_beat(settings_of_redis())


def flower() -> int:
    """Show workers and tasks until a signal."""
    if find_spec("flower") is None:
        raise ServiceError("Flower is not installed: install docmill with the extra flower")
    from docmill.worker.processes.flower import run_flower

    return run_flower(settings_of_redis())
