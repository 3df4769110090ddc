"""The receiver of Storage webhooks: verify, sync, answer. It never waits for Redis."""
