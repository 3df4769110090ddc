"""Vendors at the edge: Supabase Storage and OpenAI. Their errors become ours here."""
