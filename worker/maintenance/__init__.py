"""What runs on a schedule: dispatch, rescue, reconcile, prune."""
