"""The long-running processes."""

from importlib.util import find_spec

from worker.cli.context import settings_in_use, settings_of_redis
from worker.errors import ServiceError


def worker(*, isolated: bool) -> int:
    """Run jobs until a signal."""
    from worker.log import configure_logging
    from worker.worker_process import run_worker

    settings = settings_in_use()
    configure_logging(log_format=settings.log_format, level=settings.log_level)
    return run_worker(settings, isolated=isolated)


def webhook() -> int:
    """Receive events until a signal."""
    from worker.webhook.process import run_webhook

    return run_webhook(settings_in_use())


def beat() -> int:
    """Send the schedule's messages until a signal."""
    from worker.beat_process import run_beat

    return run_beat(settings_of_redis())


def flower() -> int:
    """Show workers and tasks until a signal."""
    if find_spec("flower") is None:
        raise ServiceError("Flower is not installed: install docmill with the extra flower")
    from worker.flower_process import run_flower

    return run_flower(settings_of_redis())
