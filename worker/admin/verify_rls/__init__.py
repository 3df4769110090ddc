"""Tests, in the user's own database, that nobody can read or change other users' data."""

from docmill.worker.admin.verify_rls.findings import Finding
from docmill.worker.admin.verify_rls.run import verify_rls

__all__ = ["Finding", "verify_rls"]
