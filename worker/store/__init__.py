"""The database: one-line calls of the functions in schema/, and their rows as models."""
