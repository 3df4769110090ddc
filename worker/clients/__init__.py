"""Clients of other services: Supabase Storage, providers, models. Their errors become docmill's."""
