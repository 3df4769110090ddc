"""The worker: from an event of Storage to published chunks, and the commands around it."""
