"""The long-running processes, each with only the settings that it reads."""

from importlib.util import find_spec

from docmill.cli.context import complete_settings, project_settings
from docmill.worker.errors import ServiceError
from docmill.worker.processes.tracing import leave_out_unwanted
from docmill.worker.settings.processes import (
    BeatSettings,
    FlowerSettings,
    WebhookSettings,
    WorkerSettings,
)


def worker(*, isolated: bool) -> int:
    """Run jobs until a signal."""
    leave_out_unwanted()
    from docmill.worker.log import configure_logging
    from docmill.worker.processes.worker import run_worker

    settings = project_settings(WorkerSettings)
    configure_logging(log_format=settings.log_format, level=settings.log_level)
    return run_worker(settings, isolated=isolated)


def webhook() -> int:
    """Receive events until a signal."""
    leave_out_unwanted()
    from docmill.worker.processes.webhook import run_webhook

    return run_webhook(project_settings(WebhookSettings))


def beat() -> int:
    """Send the schedule's messages until a signal."""
    leave_out_unwanted()
    from docmill.worker.processes.beat import run_beat

    return run_beat(complete_settings(BeatSettings))


def flower() -> int:
    """Show workers and tasks until a signal."""
    if find_spec("flower") is None:
        raise ServiceError("Flower is not installed: install docmill with the extra flower")
    from docmill.worker.processes.flower import run_flower

    return run_flower(complete_settings(FlowerSettings))
