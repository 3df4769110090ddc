"""Plain SQL: migrations that run once, functions and policies that are applied again."""
