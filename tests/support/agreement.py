"""Checks that status, doctor, explain and reconcile do not contradict each other."""

from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

_EXPLANATIONS: Final = """
    select job.id, job.state, job.document_id, job.storage_version, explained.*,
           document.status, document.latest_job_id, document.object_id as object,
           document.storage_version as current_version,
           (select lease.expires_at < clock_timestamp() from ingest_private.leases as lease
             where lease.job_id = job.id) as is_expired,
           document.searchable and (document.chunk_count = 0 or exists (
               select from ingest.chunks as chunk where chunk.document_id = document.id))
               and document.id not in (select ingest.withdrawn_documents()) as is_found
      from ingest.jobs as job
           left join ingest.documents as document on document.id = job.document_id
           cross join lateral ingest_private.explain_job(job.id) as explained
"""
_DIFFERENCES: Final = """
    select difference.value ->> 'object_id' as object_id, difference.value ->> 'difference' as kind,
           exists (select from ingest_private.pending_events as event
                    where event.object_id::text = difference.value ->> 'object_id') as is_pending
      from ingest_private.reconcile(null, null, p_repair => false) as page
           cross join lateral jsonb_array_elements(to_jsonb(page.differences)) as difference
"""
#: The situations that a job may have, by the status of its document.
_SITUATIONS: Final = {
    "pending": {"waiting", "held", "retrying"},
    "processing": {"working", "interrupted", "waiting", "held", "retrying"},
    "ready": {"done"},
    "failed": {"failed", "cancelled"},
}


def disagreements(connection: psycopg.Connection[Any]) -> list[str]:
    """Each contradiction as a sentence, all of them seen in one snapshot of the database."""
    is_idle = connection.info.transaction_status == TransactionStatus.IDLE
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        if is_idle:
            cursor.execute("set transaction isolation level repeatable read")
        troubles = {
            row["trouble"]
            for row in cursor.execute("select trouble from ingest_private.troubles()").fetchall()
        }
        jobs = cursor.execute(_EXPLANATIONS).fetchall()
        differences = cursor.execute(_DIFFERENCES).fetchall()
    found = [f"{job['id']} {line}" for job in jobs for line in _of_job(job, troubles)]
    differing = {row["object_id"]: row["kind"] for row in differences}
    for job in jobs:
        kind = differing.get(str(job["object"]))
        if kind in ("stale", "orphaned") and "is searchable" in job["explanation"]:
            found.append(f"{job['id']} is explained as searchable, reconcile finds it {kind}")
    found += [
        f"reconcile finds {row['object_id']} {row['kind']}, and no event is pending"
        for row in differences
        if not row["is_pending"] and row["kind"] != "stuck"
    ]
    return found


def _of_job(job: dict[str, Any], troubles: set[str]) -> list[str]:
    found = []

    def must(holds: object, sentence: str) -> None:
        if not holds:
            found.append(f"{sentence}: {job['situation']}, {job['explanation']!r}, {troubles}")

    if job["explanation"] == "No worker is running.":
        must("no_worker" in troubles, "has no worker, but that is no trouble")
    if job["hold_reason"] == "paused":
        must("paused" in troubles, "is paused, but that is no trouble")
    if job["state"] == "running":
        must(
            (job["situation"] == "interrupted") == job["is_expired"],
            "lease and explanation differ",
        )
    if job["explanation"].startswith("The document is searchable"):
        must(job["is_found"], "is said to be searchable and is not")
        must(job["current_version"] == job["storage_version"], "is another version by now")
    if job["latest_job_id"] == job["id"]:
        must(job["situation"] in _SITUATIONS[job["status"]], f"document is {job['status']}")
    return found
