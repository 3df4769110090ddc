"""The settings of the stand-in."""

from dataclasses import dataclass, field
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True)
class StorageSettings:
    """Frozen settings of Storage. Secrets are left out of its repr, and so out of logs."""

    #: For the role supabase_storage_admin, which may switch to any role of the API but bypasses no
    #: RLS.
    database_url: str = field(repr=False)
    data_dir: Path  #: bytes of the objects; made if absent
    deliver_webhooks: bool = True  #: off: requests stay in net.http_request_queue
    max_file_bytes: int = 50 * MIB  #: a bucket's own limit can only lower it
    connections: int = 16
