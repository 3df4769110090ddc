"""The tasks that beat starts: dispatch, rescue, reconcile, and the schedules."""
