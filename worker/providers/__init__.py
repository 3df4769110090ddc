"""The providers of embeddings: one file each, and one entry each in the registry. No I/O."""
