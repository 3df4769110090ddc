"""Each alert of ops/alerts.yml fires for the trouble that it is for, and ends once that is mended.

    python -m tests.faults.alerts            # or --only DocmillNoSpace DocmillSpend; --record

Webhook, beat and two workers really run, and are scraped twice a second at most. Each scrape counts
as thirty seconds of Prometheus' time: windows, `for` and thresholds are those of the file, and an
hour of it passes in a minute. Only what rules.SCALED names is changed. A busy machine makes it
slower and changes nothing else.
"""
