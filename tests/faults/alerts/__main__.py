"""Try the alerts, print a line for each, and keep them for docs/metrics.md."""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from tests.faults.alerts.rules import FACTOR, NAMES, SCRAPE_SECONDS
from tests.faults.alerts.stand import running_stand
from tests.faults.alerts.trials import SOUND_SCRAPES, TROUBLES, try_alert, watch_sound
from tests.faults.chaos import own_postgres, own_redis
from tests.faults.results import record, recorded
from tests.support.alert_table import write_table
from tests.support.database import make_database
from tests.support.installation import SHORT_LEASE, install


def main() -> int:
    """Try the alerts, print a line for each, and keep them for docs/metrics.md."""
    parser = argparse.ArgumentParser(description="each alert for its trouble")
    parser.add_argument("--only", nargs="+", default=NAMES, choices=NAMES, metavar="ALERT")
    parser.add_argument("--sound", type=int, default=SOUND_SCRAPES, help="scrapes without trouble")
    parser.add_argument("--record", action="store_true", help="for docs/metrics.md")
    options = parser.parse_args()
    results, broken = [], 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        postgres = stack.enter_context(own_postgres(folder / "postgres"))
        redis = stack.enter_context(own_redis(folder / "redis"))
        database = stack.enter_context(make_database(postgres.server, "project"))
        installation = stack.enter_context(install(database, redis, folder, **SHORT_LEASE))
        stand = stack.enter_context(running_stand(installation))
        watch_sound(stand, options.sound)
        minutes = options.sound * SCRAPE_SECONDS / 60
        print(f"nothing fired in {minutes:.0f} minutes without trouble", flush=True)
        for trouble in [one for one in TROUBLES if one.alert in options.only]:
            began = time.monotonic()
            try:
                results.append(fired := try_alert(stand, trouble))
            except AssertionError as failure:
                print(f"{trouble.alert}: BROKEN: {failure}", flush=True)
                broken += 1
                break  # the installation is not sound any more
            else:
                took = time.monotonic() - began
                print(
                    f"{fired.alert}: fired after {fired.fired_after:.0f} s, ended after "
                    f"{fired.ended_after:.0f} s, with {fired.with_it or 'no other'}; "
                    f"{took:.0f} real seconds",
                    flush=True,
                )
    if options.record:
        kept = {row["alert"]: row for row in recorded().get("alerts", {}).get("figures", [])}
        kept |= {fired.alert: asdict(fired) for fired in results}
        record("alerts", [kept[name] for name in NAMES if name in kept], factor=FACTOR)
        write_table()
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
