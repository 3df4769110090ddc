"""Buckets over supabase-py."""

import pytest
from storage3.exceptions import StorageApiError

from tests.contract.storage.conftest import ALICE, Bucket, Project, client_for, token


def test_a_bucket_is_created_read_updated_listed_and_deleted(storage_project: Project) -> None:
    storage = storage_project.clients["admin"].storage
    assert storage.create_bucket(
        "life", options={"public": True, "file_size_limit": 1000, "allowed_mime_types": ["a/b"]}
    ) == {"name": "life"}
    made = storage.get_bucket("life")
    assert (made.id, made.name, made.public, made.owner) == ("life", "life", True, "")
    assert (made.file_size_limit, made.allowed_mime_types) == (1000, ["a/b"])

    assert storage.update_bucket("life", {"public": False, "file_size_limit": 20}) == {
        "message": "Successfully updated"
    }
    changed = storage.get_bucket("life")
    assert (changed.public, changed.file_size_limit) == (False, 20)
    assert changed.allowed_mime_types == ["a/b"], "what the body does not name stays"
    assert "life" in {bucket.id for bucket in storage.list_buckets()}

    assert storage.delete_bucket("life") == {"message": "Successfully deleted"}
    with pytest.raises(StorageApiError, match="Bucket not found"):
        storage.get_bucket("life")


def test_a_bucket_of_the_same_name_is_a_duplicate(bucket: Bucket) -> None:
    with pytest.raises(StorageApiError) as refused:
        bucket.project.clients["admin"].storage.create_bucket(bucket.name)
    assert refused.value.to_dict() == {
        "name": "StorageApiError",
        "code": "Duplicate",
        "message": "The resource already exists",
        "status": "409",
    }


def test_a_bucket_with_objects_is_not_deleted_until_it_is_emptied(bucket: Bucket) -> None:
    storage = bucket.project.clients["admin"].storage
    bucket.admin.upload("a.txt", b"a")
    with pytest.raises(StorageApiError, match="The bucket you tried to delete is not empty"):
        storage.delete_bucket(bucket.name)
    assert "Empty bucket has been queued" in storage.empty_bucket(bucket.name)["message"]
    assert bucket.rows() == []
    storage.delete_bucket(bucket.name)


def test_a_user_without_a_policy_sees_and_makes_no_bucket(bucket: Bucket) -> None:
    storage = bucket.project.clients["alice"].storage
    assert storage.list_buckets() == []
    with pytest.raises(StorageApiError, match="Bucket not found"):
        storage.get_bucket(bucket.name)
    with pytest.raises(StorageApiError, match="new row violates row-level security policy"):
        storage.create_bucket("of-alice")
    with pytest.raises(StorageApiError, match="Bucket not found"):
        storage.update_bucket(bucket.name, {"public": True})
    with pytest.raises(StorageApiError, match="Bucket not found"):
        storage.delete_bucket(bucket.name)
    with pytest.raises(StorageApiError, match="Access denied: Invalid role"):
        storage.empty_bucket(bucket.name)


def test_a_policy_on_buckets_lets_a_user_make_one_and_own_it(storage_project: Project) -> None:
    with storage_project.database.connect() as connection:
        connection.execute(
            """create policy carol_makes on storage.buckets for all to authenticated
                   using (owner_id = (select auth.jwt() ->> 'sub') and name like 'carol-%')
                   with check (name like 'carol-%')"""
        )
    storage = client_for(storage_project.storage, token("carol")).storage
    storage.create_bucket("carol-1")
    assert [found.id for found in storage.list_buckets()] == ["carol-1"]
    assert storage_project.clients["alice"].storage.list_buckets() == []
    storage.delete_bucket("carol-1")


@pytest.mark.parametrize("name", ["a/b", "ä", " padded ", "x" * 101, ""])
def test_a_bucket_name_that_storage_refuses_is_refused(storage_project: Project, name: str) -> None:
    with pytest.raises(StorageApiError, match="Bucket name invalid"):
        storage_project.clients["admin"].storage.create_bucket("id", name or " ")


@pytest.mark.parametrize(
    ("limit", "stored"), [("20KB", 20_000), ("1.5mb", 1_500_000), (7, 7), (None, None)]
)
def test_a_size_limit_may_carry_a_unit(
    storage_project: Project, limit: object, stored: object
) -> None:
    with storage_project.http() as http:
        body = {"id": "limits", "name": "limits", "file_size_limit": limit}
        assert http.post("/bucket", json=body).status_code == 200
        assert http.get("/bucket/limits").json()["file_size_limit"] == stored
        http.delete("/bucket/limits")


def test_a_limit_above_the_projects_own_is_too_large(storage_project: Project) -> None:
    with pytest.raises(StorageApiError) as refused:
        storage_project.clients["admin"].storage.create_bucket(
            "huge", options={"file_size_limit": 2**40}
        )
    assert (refused.value.code, refused.value.status) == ("Payload too large", "413")


def test_an_unknown_user_is_alice_only_in_name(bucket: Bucket) -> None:
    """A `sub` that is no uuid owns by owner_id alone."""
    with bucket.project.database.connect() as connection:
        connection.execute(
            """create policy third_party on storage.objects for insert to authenticated
                   with check ((select auth.jwt() ->> 'sub') = 'firebase|7')"""
        )
    assert ALICE != "firebase|7"
    dave = client_for(bucket.project.storage, token("firebase|7")).storage.from_(bucket.name)
    dave.upload("x.txt", b"x")
    with bucket.project.database.connect() as connection:
        assert connection.execute(
            "select owner, owner_id from storage.objects where bucket_id = %s", [bucket.name]
        ).fetchall() == [(None, "firebase|7")]
