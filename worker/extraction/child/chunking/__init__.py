"""Turns elements into chunks: cut by tokens, packed by sections."""
