"""Thirteen promises that must be true after every run of chaos, each a function with a message."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.faults.documents import mark_of, tear
from tests.faults.fake_provider import Provider
from tests.faults.reader import Reader
from tests.support.installation import BUCKET, Installation

SETTLE_SECONDS: Final = 120.0
SPEND_RATIO: Final = 1.2
#: Texts that no log may contain.
CANARIES: Final = ("sb_secret_canary", "webhook-canary", "sk-canary", "test@127.0.0.1")

#: Objects whose newest job has not ended, or is for another version than Storage's.
UNSETTLED: Final = """
    select coalesce(object.name, document.object_name) as name, object.version,
           document.storage_version, job.state, job.stage, job.hold_reason, job.error_code,
           entry.phase, entry.isolated, entry.due_at, lease.worker_id
      from storage.objects as object
           full join ingest.documents as document on document.object_id = object.id
           left join ingest.jobs as job on job.id = document.latest_job_id
           left join ingest_private.job_queue as entry on entry.job_id = job.id
           left join ingest_private.leases as lease on lease.job_id = job.id
     where object.id is null or document.id is null
        or document.storage_version <> object.version
        or (job.storage_version, job.finished_at is not null)
           is distinct from (object.version, true)"""


#: Documents that an index version lacks without a reason.
UNFILLED: Final = """
    select version.id as version, version.state, document.object_name
      from ingest.index_versions as version cross join ingest.documents as document
     where (version.state = 'active' or version.state <> 'dropped' and not version.is_paused)
       and document.status = 'ready' and ingest_private.lacks(version.id, document)
       and not exists (select from ingest.jobs as job
                        where job.document_id = document.id and job.index_version = version.id
                          and job.storage_version = document.storage_version
                          and job.state in ('failed', 'cancelled'))"""
#: Tables that name an index version, and so may name a dropped one.
_MEMORY: Final = ("jobs", "index_versions")


@dataclass(frozen=True)
class Evidence:
    """The data that the oracles check."""

    installation: Installation
    reader: Reader
    provider: Provider
    settle_seconds: float | None  #: None: it did not settle in time
    logs: str

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows as the superuser sees them."""
        return self.installation.rows(query, *parameters)


def lost(evidence: Evidence) -> list[dict[str, Any]]:
    """Objects whose newest version is neither searchable nor failed with a code."""
    return evidence.rows(
        """select object.name, object.version, document.status, document.error_code,
                  published.storage_version as published
             from storage.objects as object
                  left join ingest.documents as document on document.object_id = object.id
                  left join ingest_private.published_versions as published
                         on published.document_id = document.id
                        and published.index_version
                            = (select id from ingest.index_versions where state = 'active')
            where (document.status = 'failed') is not true
              and ((document.status, published.storage_version)
                   is distinct from ('ready', object.version))"""
    )


def duplicated(evidence: Evidence) -> list[dict[str, Any]]:
    """Versions that two jobs published, and chunks without a place or with a doubled place."""
    return evidence.rows(
        """select 'job' as what, document_id::text as id, storage_version as detail
             from ingest.jobs where state = 'succeeded' and document_id is not null
            group by document_id, index_version, storage_version having count(*) > 1
           union all
           select 'attempt', job_id::text, count(*)::text
             from ingest_private.attempts where outcome = 'succeeded'
            group by job_id having count(*) > 1
           union all
           select 'chunk', min(chunk.id::text), chunk.content
             from ingest.chunks as chunk
            group by chunk.index_version, chunk.document_id, chunk.content having count(*) > 1
           union all
           -- Innocent documents have no passage twice; a hostile one may be nothing else.
           select 'position', position.document_id::text, count(*)::text
             from ingest.chunk_positions as position
                  join ingest.documents as document on document.id = position.document_id
            where document.owner_id = any(%s)
            group by position.index_version, position.document_id, position.chunk_id
           having count(*) > 1
           union all
           select 'chunk without position', chunk.id::text, chunk.content
             from ingest.chunks as chunk
            where chunk.document_id not in (select ingest.withdrawn_documents())
              and not exists (select from ingest.chunk_positions as position
                               where position.index_version = chunk.index_version
                                 and position.chunk_id = chunk.id)""",
        list(evidence.reader.owners.values()),
    )


def o1_every_object_has_a_job_that_ended_for_its_version(evidence: Evidence) -> None:
    """No job is left unfinished."""
    open_jobs = evidence.rows("select id, state from ingest.jobs where finished_at is null")
    unsettled = evidence.rows(UNSETTLED)
    assert not unsettled, f"objects without a job that ended for their version: {unsettled}"
    assert not open_jobs, f"jobs that have not ended: {open_jobs}"


def o2_what_is_searchable_is_what_storage_holds(evidence: Evidence) -> None:
    """Or the document has an error code that says why not."""
    missing = lost(evidence)
    assert not missing, f"objects that are neither searchable nor failed: {missing}"
    twice = duplicated(evidence)
    assert not twice, f"published or stored twice: {twice}"
    storage = evidence.installation.client(None).storage.from_(BUCKET)
    for row in evidence.rows(
        """select document.object_name as name, version.id as version, array(
                  select chunk.content from ingest.chunk_positions as position
                    join ingest.chunks as chunk on chunk.index_version = position.index_version
                                               and chunk.id = position.chunk_id
                   where position.document_id = document.id
                     and position.index_version = version.id order by position.ordinal) as chunks
             from ingest.documents as document cross join ingest.index_versions as version
            where document.status = 'ready' and document.owner_id = any(%s)
              and (version.state = 'active' or version.state <> 'dropped'
                   and not version.is_paused)""",
        list(evidence.reader.owners.values()),
    ):
        stored = storage.download(row["name"]).decode().split("# Part ")[1:]
        found = [mark_of(chunk) for chunk in row["chunks"]]
        assert found == [mark_of(section) for section in stored], (
            f"{row['name']} is in version {row['version']} as {found}, "
            f"Storage holds {len(stored)} parts of another"
        )
        assert tear(found) is None, f"{row['name']} is searchable in pieces: {tear(found)}"


def o3_nothing_of_deleted_objects_is_searchable(evidence: Evidence) -> None:
    """Neither at the end nor after Storage confirmed the delete."""
    left = evidence.rows(
        """select chunk.id, chunk.object_id from ingest.chunks as chunk
            where not exists (select from storage.objects as object
                               where object.id = chunk.object_id)
              and chunk.document_id not in (select ingest.withdrawn_documents())"""
    )
    assert not left, f"chunks of deleted objects: {left}"
    late = evidence.reader.deleted_seen
    assert not late, f"deleted objects that were seen so many seconds later: {late}"


def o4_no_reader_saw_two_versions_or_a_strangers_document(evidence: Evidence) -> None:
    """Readers see whole documents, and their own."""
    reader = evidence.reader
    assert not reader.torn, f"{len(reader.torn)} torn readings, such as {reader.torn[0]}"
    assert not reader.foreign, f"{len(reader.foreign)} strange rows, such as {reader.foreign[0]}"
    assert reader.readings > 0, "nobody has read"


def o5_no_job_has_more_attempts_or_deaths_than_it_may(evidence: Evidence) -> None:
    """Nothing is tried for ever, and no transactions wait for each other in a circle."""
    endless = evidence.rows(
        """select job.id, job.attempt, count(*) filter (where try.outcome = 'crashed'
                                                          and try.isolated) as deaths_alone
             from ingest.jobs as job join ingest_private.attempts as try on try.job_id = job.id
            group by job.id, job.attempt
           having job.attempt > job.max_attempts
               or count(*) filter (where try.outcome = 'crashed' and try.isolated) > 2"""
    )
    assert not endless, f"jobs that were tried too often: {endless}"
    at_once = evidence.rows(
        """select one.job_id from ingest_private.attempts as one
             join ingest_private.attempts as other
               on other.job_id = one.job_id and other.id > one.id
            where other.started_at < one.finished_at or one.finished_at is null"""
    )
    assert not at_once, f"jobs that had two runs at once: {at_once}"
    deadlocks = evidence.rows(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )[0]["deadlocks"]
    assert deadlocks == 0, f"{deadlocks} deadlocks"


def o6_hardly_anything_is_paid_for_twice(evidence: Evidence) -> None:
    """Texts of an interrupted request may be requested again, staged ones may not."""
    ratio = evidence.provider.spend_ratio
    assert ratio <= SPEND_RATIO, f"{ratio:.2f} times the tokens that were needed"


def o7_no_log_shows_a_secret(evidence: Evidence) -> None:
    """After any fault, and no text of a document either."""
    for secret in (*CANARIES, "Mark of "):
        assert secret not in evidence.logs, f"a log shows {secret!r}"


def o8_it_settles_in_time(evidence: Evidence) -> None:
    """After the faults have stopped."""
    assert evidence.settle_seconds is not None, (
        f"not settled within {SETTLE_SECONDS} s: {evidence.rows(UNSETTLED)}"
    )


def o9_all_say_the_same(evidence: Evidence) -> None:
    """Status, doctor, explain and reconcile agree, after any fault."""
    assert evidence.reader.looks, "nobody looked at what they say"
    said = evidence.reader.contradictions
    assert not said, f"{len(said)} contradictions, such as {said[:3]}"


def o10_every_version_that_is_filled_has_all(evidence: Evidence) -> None:
    """Except documents that failed for it."""
    missing = evidence.rows(UNFILLED)
    assert not missing, f"documents that index versions lack: {missing}"
    owners = list(evidence.reader.owners.values())
    failed = evidence.rows(
        """select object_name, index_version, error_code from ingest.jobs
            where kind = 'reindex' and state = 'failed' and owner_id = any(%s)""",
        owners,
    )
    assert not failed, f"innocent documents that failed for an index version: {failed}"


def o11_nothing_is_left_of_a_dropped_version(evidence: Evidence) -> None:
    """Neither rows nor partitions."""
    for row in evidence.rows(
        """select format('%%I.%%I', table_schema, table_name) as name
             from information_schema.columns
            where column_name = 'index_version' and table_schema in ('ingest', 'ingest_private')
              and table_name <> all(%s)""",
        list(_MEMORY),
    ):
        left = evidence.rows(
            f"""select index_version, count(*) from {row["name"]} where index_version in (
                    select id from ingest.index_versions where state = 'dropped') group by 1"""
        )
        assert not left, f"{row['name']} has rows of dropped versions: {left}"
    partitions = evidence.rows(
        r"""select class.relname from pg_class as class join ingest.index_versions as version
               on version.state = 'dropped' and class.relname ~ ('^[a-z_]+_' || version.id || '$')
            where class.relkind = 'r' and class.relnamespace = 'ingest_private'::regnamespace"""
    )
    assert not partitions, f"partitions of dropped versions: {partitions}"


def o12_reindexing_leaves_documents_alone(evidence: Evidence) -> None:
    """Their fields still describe the result of their uploads."""
    touched = evidence.rows(
        """select document.object_name, document.status, document.error_code, job.kind, job.state
             from ingest.documents as document
                  left join ingest.jobs as job on job.id = document.latest_job_id
            where job.kind is distinct from 'ingest'
               or document.status = 'failed'
                  and ((job.state in ('failed', 'cancelled')) is not true
                       or coalesce(job.error_code, 'cancelled') <> document.error_code)"""
    )
    assert not touched, f"documents that say what no upload came to: {touched}"


def o13_searches_see_one_version(evidence: Evidence) -> None:
    """And every searchable version answers."""
    misled = evidence.reader.misled
    assert not misled, f"{len(misled)} misled searches, such as {misled[0]}"


def no_innocent_document_is_parked(evidence: Evidence) -> None:
    """No document in a run of chaos is the cause of a fault."""
    failed = evidence.rows(
        """select object_name, error_code from ingest.documents
            where status = 'failed' and owner_id = any(%s)""",
        list(evidence.reader.owners.values()),
    )
    assert not failed, f"innocent documents that failed: {failed}"


ORACLES: Final[tuple[Callable[[Evidence], None], ...]] = (
    o8_it_settles_in_time,
    o1_every_object_has_a_job_that_ended_for_its_version,
    o2_what_is_searchable_is_what_storage_holds,
    o3_nothing_of_deleted_objects_is_searchable,
    o4_no_reader_saw_two_versions_or_a_strangers_document,
    o5_no_job_has_more_attempts_or_deaths_than_it_may,
    o6_hardly_anything_is_paid_for_twice,
    o7_no_log_shows_a_secret,
    o9_all_say_the_same,
    o10_every_version_that_is_filled_has_all,
    o11_nothing_is_left_of_a_dropped_version,
    o12_reindexing_leaves_documents_alone,
    o13_searches_see_one_version,
    no_innocent_document_is_parked,
)
