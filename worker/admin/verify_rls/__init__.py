"""Prove, in the user's own database, that nobody reads or changes what is not theirs."""

from docmill.worker.admin.verify_rls.findings import Finding
from docmill.worker.admin.verify_rls.run import verify_rls

__all__ = ["Finding", "verify_rls"]
