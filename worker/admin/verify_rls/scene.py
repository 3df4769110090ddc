"""The data that all checks need: the transaction, the catalog, the actors, Storage's readers."""

from dataclasses import dataclass

from docmill.worker.admin.verify_rls.catalog import Catalog
from docmill.worker.admin.verify_rls.session import Session
from docmill.worker.admin.verify_rls.storage import Readable
from docmill.worker.admin.verify_rls.tenants import Cast


@dataclass(frozen=True)
class Scene:
    """The data that all checks need."""

    session: Session
    catalog: Catalog
    cast: Cast
    readable: Readable
