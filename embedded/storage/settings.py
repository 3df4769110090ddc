"""What the stand-in is started with."""

from dataclasses import dataclass, field
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True)
class StorageSettings:
    """Frozen settings of Storage. Secrets stay out of its repr, hence out of logs."""

    #: Of role supabase_storage_admin, which may become any role of the API but bypasses no RLS.
    database_url: str = field(repr=False)
    data_dir: Path  #: bytes of the objects; made when absent
    deliver_webhooks: bool = True  #: off: what is queued stays in net.http_request_queue
    max_file_bytes: int = 50 * MIB  #: a bucket's own limit can only lower it
    connections: int = 16
