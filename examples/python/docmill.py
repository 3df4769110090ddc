"""Upload, follow, search: copy what you need. `client` is a supabase-py client of a user."""

import time
from collections.abc import Iterator
from typing import Any

from supabase import Client

Row = dict[str, Any]


def upload(client: Client, bucket: str, path: str, content: bytes) -> Row:
    """Upload or replace a file; return the keys of the job that this makes.

    docmill looks at the content and ignores the declared type.
    """
    storage = client.storage.from_(bucket)
    storage.upload(path, content, {"upsert": "true", "content-type": "application/octet-stream"})
    version = storage.info(path)["version"]
    return {"bucket_id": bucket, "object_name": path, "storage_version": version}


def read_job(client: Client, uploaded: Row) -> Row | None:
    """The current state of an upload's job; None while there is none. A retry is another job."""
    jobs = client.schema("ingest").from_("jobs").select("*").match(uploaded)
    found = jobs.order("created_at", desc=True).limit(1).execute().data
    return found[0] if found else None


def follow(client: Client, uploaded: Row, patience_seconds: float = 30) -> Iterator[Row]:
    """Yield the job at each change, until it is finished.

    While nothing changes, the waits grow from a quarter of a second to five seconds. Raises if a
    request fails; call it again to continue from the current state.
    """
    started = time.monotonic()
    seen, pause = None, 0.25
    while True:
        job = read_job(client, uploaded)
        if job is not None and job["updated_at"] != seen:
            yield job
            if job["finished_at"]:
                return
            seen, pause = job["updated_at"], 0.25
        if job is None and time.monotonic() - started > patience_seconds:
            message = "no job was made: is the bucket a source (docmill sources list)?"
            raise TimeoutError(message)
        time.sleep(pause)
        pause = min(1.5 * pause, 5)


def describe(client: Client, job: Row) -> str:
    """The state of a job in a few words for its user."""
    if job["state"] == "failed":
        found = client.schema("ingest").rpc("explain_job", {"job_id": job["id"]}).execute().data
        return f"{job['error_code']}: {found[0]['explanation']}"  # what happened, and what to do
    if job["finished_at"]:
        return job["state"]
    if job["hold_reason"]:
        return f"held: {job['hold_reason']}"
    if job["chunks_total"]:
        done = job["chunks_embedded"] + job["chunks_reused"]
        return f"{job['stage']}: {done} of {job['chunks_total']} chunks"
    if job["pages_total"]:
        return f"{job['stage']}: {job['pages_done']} of {job['pages_total']} pages"
    return job["stage"]


def cancel(client: Client, job: Row) -> str:
    """Cancel a job: at once, or within about a second if a worker runs it."""
    return client.schema("ingest").rpc("cancel_job", {"job_id": job["id"]}).execute().data


def retry(client: Client, job: Row) -> str:
    """Make a new job after one that failed or was cancelled; return its id.

    Follow it with the same upload.
    """
    return client.schema("ingest").rpc("retry_job", {"job_id": job["id"]}).execute().data


def documents(client: Client) -> list[Row]:
    """The user's documents, newest first."""
    columns = "id, object_name, title, status, searchable, page_count, chunk_count, error_code"
    query = client.schema("ingest").from_("documents").select(columns)
    return query.order("created_at", desc=True).limit(100).execute().data


def search(client: Client, question: str, **options: Any) -> list[Row]:
    """The passages nearest to a question, of documents that the user may read.

    The function `embed` names its model, and match_chunks answers from the index of that model.
    """
    body = {"body": {"input": question}, "responseType": "json"}
    query = client.functions.invoke("embed", body)
    arguments = {"query_embedding": str(query["embedding"]), "model": query["model"], **options}
    return client.schema("ingest").rpc("match_chunks", arguments).execute().data
