"""Buckets over supabase-py."""

from uuid import uuid4

import pytest
from storage3.exceptions import StorageApiError

from tests.contract.storage.conftest import Bucket
from tests.contract.target import NAME, Target, User


def test_a_bucket_is_created_read_listed_and_deleted(target: Target) -> None:
    storage = target.service.storage
    name = f"{NAME}-{uuid4()}"
    assert storage.create_bucket(
        name, options={"file_size_limit": 1000, "allowed_mime_types": ["a/b"]}
    ) == {"name": name}
    (made,) = (found for found in storage.list_buckets() if found.id == name)
    assert (made.id, made.name, made.public, made.owner) == (name, name, False, "")
    assert (made.file_size_limit, made.allowed_mime_types) == (1000, ["a/b"])
    assert storage.delete_bucket(name) == {"message": "Successfully deleted"}
    with pytest.raises(StorageApiError, match="Bucket not found"):
        storage.delete_bucket(name)


def test_a_bucket_of_the_same_name_is_a_duplicate(bucket: Bucket) -> None:
    with pytest.raises(StorageApiError) as refused:
        bucket.target.service.storage.create_bucket(bucket.name)
    assert refused.value.to_dict() == {
        "name": "StorageApiError",
        "code": "Duplicate",
        "message": "The resource already exists",
        "status": "409",
    }


def test_a_bucket_with_objects_is_not_deleted(bucket: Bucket) -> None:
    bucket.admin.upload("a.txt", b"a")
    with pytest.raises(StorageApiError, match="The bucket you tried to delete is not empty"):
        bucket.target.service.storage.delete_bucket(bucket.name)
    assert bucket.names() == ["a.txt"]


def test_a_user_without_a_policy_sees_and_makes_no_bucket(bucket: Bucket, alice: User) -> None:
    storage = alice.client.storage
    assert bucket.name not in {found.id for found in storage.list_buckets()}
    with pytest.raises(StorageApiError, match="new row violates row-level security policy"):
        storage.create_bucket(f"{NAME}-of-alice")
    with pytest.raises(StorageApiError, match="Bucket not found"):
        storage.delete_bucket(bucket.name)


@pytest.mark.parametrize("name", ["a/b", "ä", "x" * 101])
def test_a_bucket_name_that_storage_refuses_is_refused(target: Target, name: str) -> None:
    with pytest.raises(StorageApiError, match="Bucket name invalid"):
        target.service.storage.create_bucket("id", name)


@pytest.mark.embedded_only("a project has public buckets")
def test_a_public_bucket_is_refused(target: Target) -> None:
    with pytest.raises(StorageApiError, match="private buckets only"):
        target.service.storage.create_bucket(f"{NAME}-public", options={"public": True})
