"""`python -m worker.local.storage`: serve until SIGTERM. Settings come as STORAGE_* variables."""

import uvicorn

from worker.local.storage.app import create_app
from worker.local.storage.settings import StorageSettings
from worker.log import configure_logging


def main() -> None:
    """Serve one stand-in."""
    settings = StorageSettings.from_environ()
    configure_logging(log_format="json", level="info")
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,  # a line would show object names and the tokens of signed URLs
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
