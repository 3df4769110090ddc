"""Celery entry points. Each decodes its message, calls one function of `worker`, and stops."""
