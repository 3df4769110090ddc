"""`python -m worker.local.api`: serve until SIGTERM, with the settings of the environment."""

import sys

from worker.local.api.app import create_app
from worker.local.api.settings import ApiSettings
from worker.log import configure_logging
from worker.serving import serve


def main() -> int:
    """Serve Storage, the Data API and Auth."""
    settings = ApiSettings.from_environ()
    configure_logging(log_format="json", level="info")
    return serve(create_app(settings), host=settings.host, port=settings.port)


if __name__ == "__main__":
    sys.exit(main())
