"""The embedded mode: PostgreSQL, Redis and the API of Supabase, for development."""
