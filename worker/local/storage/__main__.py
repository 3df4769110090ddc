"""`python -m worker.local.storage`: serve until SIGTERM. Settings come as STORAGE_* variables."""

import sys

from worker.local.storage.app import create_app
from worker.local.storage.settings import StorageSettings
from worker.log import configure_logging
from worker.serving import serve


def main() -> int:
    """Serve one stand-in."""
    settings = StorageSettings.from_environ()
    configure_logging(log_format="json", level="info")
    return serve(create_app(settings), host=settings.host, port=settings.port)


if __name__ == "__main__":
    sys.exit(main())
