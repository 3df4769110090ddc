"""docmill: files in Supabase Storage become searchable, access-controlled vectors."""

__version__ = "0.1.0"
