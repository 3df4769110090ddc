"""Readers for each kind that share no code with the readers that they judge."""
