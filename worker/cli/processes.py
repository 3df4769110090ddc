"""The long-running processes."""

import tempfile
from pathlib import Path

from worker.cli.context import settings_in_use
from worker.log import configure_logging


def worker(*, isolated: bool) -> int:
    """Run jobs until a signal."""
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
    from worker.app import create_app

    settings = settings_in_use()
    configure_logging(log_format=settings.log_format, level=settings.log_level)
    app = create_app(settings)
    # Every task may run at any time, so nothing is lost with the record of when each ran last.
    with tempfile.TemporaryDirectory(prefix="docmill-beat-") as folder:
        app.Beat(
            loglevel=settings.log_level.upper(),
            schedule=str(Path(folder) / "schedule"),
            redirect_stdouts=False,
        ).run()
    return 0
