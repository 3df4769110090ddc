"""From an object of Storage to published chunks. `ingest` reads as the flow."""
