"""Retrieval for agents: a Model Context Protocol server that searches and reads as its user."""
