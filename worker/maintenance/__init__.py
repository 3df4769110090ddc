"""What beat asks for: dispatch, rescue, reconcile, and the schedules."""
