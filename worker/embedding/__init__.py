"""Texts to vectors: the local model, token counts, and full batches across jobs."""
