"""Readers of each kind that share nothing with the ones they judge."""
