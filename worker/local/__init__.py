"""The embedded mode: PostgreSQL, Redis and a stand-in for Storage, for development."""
