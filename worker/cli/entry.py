"""Where `docmill` begins. Ctrl-C ends it at once, also while it still imports."""

import signal


def main() -> None:
    """Run the command line."""
    # Until the commands can answer Ctrl-C themselves it must not leave a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from worker.cli.main import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
