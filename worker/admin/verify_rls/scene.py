"""What all tries need: the transaction, what there is, who asks, and who reads what in Storage."""

from dataclasses import dataclass

from docmill.worker.admin.verify_rls.catalog import Catalog
from docmill.worker.admin.verify_rls.session import Session
from docmill.worker.admin.verify_rls.storage import Readable
from docmill.worker.admin.verify_rls.tenants import Cast


@dataclass(frozen=True)
class Scene:
    """The stage on which everybody tries."""

    session: Session
    catalog: Catalog
    cast: Cast
    readable: Readable
