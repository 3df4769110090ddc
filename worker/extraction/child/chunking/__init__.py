"""Elements become chunks: cut by tokens, packed by the sections they stand in."""
