"""`python -m docmill.embedded.api`: serve until SIGTERM, with the settings in the environment."""

import sys

from docmill.embedded.api.app import create_app
from docmill.embedded.api.settings import ApiSettings
from docmill.worker.log import configure_logging
from docmill.worker.processes.serving import serve


def main() -> int:
    """Serve Storage, the Data API and Auth."""
    settings = ApiSettings.from_environ()
    configure_logging(log_format="json", level="info")
    return serve(create_app(settings), host=settings.host, port=settings.port)


if __name__ == "__main__":
    sys.exit(main())
