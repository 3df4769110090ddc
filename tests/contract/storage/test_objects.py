"""Objects over supabase-py: the answer of each call, and the stored data."""

import hashlib
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from storage3.exceptions import StorageApiError

from tests.contract.storage.conftest import Bucket, Watched
from tests.contract.target import User

PDF = b"%PDF-1.4 pretend"


def test_info_tells_what_an_upload_has_stored(bucket: Bucket) -> None:
    answer = bucket.admin.upload(
        "dir/report.pdf",
        PDF,
        {"content-type": "application/pdf", "metadata": {"title": "R"}, "cache-control": "60"},
    )
    assert answer.full_path == f"{bucket.name}/dir/report.pdf"
    info = bucket.admin.info("dir/report.pdf")
    assert info.pop("created_at").endswith("Z")
    assert info.pop("last_modified").endswith("Z")
    assert UUID(info.pop("version")).version == 4
    assert UUID(info.pop("id"))
    assert info == {
        "name": "dir/report.pdf",
        "bucket_id": bucket.name,
        "size": len(PDF),
        "content_type": "application/pdf",
        "cache_control": "max-age=60",
        "etag": f'"{hashlib.md5(PDF).hexdigest()}"',
        "metadata": {"title": "R"},
    }


def test_an_upload_without_options_is_plain_text_with_empty_user_metadata(bucket: Bucket) -> None:
    bucket.admin.upload("report.pdf", PDF)
    info = bucket.admin.info("report.pdf")
    assert (info["content_type"], info["metadata"]) == ("text/plain", {})


def test_raw_bytes_are_uploaded_as_supabase_js_sends_them(bucket: Bucket) -> None:
    headers = {
        "content-type": "image/png",
        "cache-control": "max-age=9",
        "x-metadata": "eyJrIjoxfQ",
    }
    with bucket.target.http("storage", **headers) as http:
        answer = http.post(f"/object/{bucket.name}/a.png", content=PDF).json()
    assert answer["Key"] == f"{bucket.name}/a.png"
    info = bucket.admin.info("a.png")
    assert answer["Id"] == info["id"]
    assert (info["content_type"], info["cache_control"]) == ("image/png", "max-age=9")
    assert info["metadata"] == {"k": 1}


def test_an_overwrite_keeps_the_id_and_changes_the_version(bucket: Bucket) -> None:
    bucket.admin.upload("a.txt", b"one", {"metadata": {"k": "v"}})
    before = bucket.admin.info("a.txt")
    with pytest.raises(StorageApiError) as refused:
        bucket.admin.upload("a.txt", b"two")
    assert refused.value.to_dict() == {
        "name": "StorageApiError",
        "code": "Duplicate",
        "message": "The resource already exists",
        "status": "409",
    }
    assert bucket.admin.download("a.txt") == b"one"
    seen = {before["version"]}
    for content in (b"two", b"three"):
        bucket.admin.upload("a.txt", content, {"upsert": "true"})
        after = bucket.admin.info("a.txt")
        assert (after["id"], after["created_at"]) == (before["id"], before["created_at"])
        assert after["version"] not in seen
        seen.add(after["version"])
        assert after["metadata"] == {}
        assert bucket.admin.download("a.txt") == content


@pytest.mark.parametrize(
    "name",
    [
        *("with space.txt", "what?.txt", "a&b.txt", "(1) copy.txt", "it's.txt", ".hidden"),
        *("a+b=c,d;e@f:g$h!.txt", "plus+and%20space.txt"),
    ],
)
def test_a_name_of_accepted_characters_makes_the_whole_way(bucket: Bucket, name: str) -> None:
    stored = name.replace("%20", " ")
    bucket.admin.upload(name, b"content")
    assert bucket.names() == [stored]
    assert bucket.admin.download(name) == b"content"
    assert bucket.admin.info(name)["name"] == stored
    assert bucket.admin.exists(name)
    signed = bucket.admin.create_signed_url(name, 60)["signedURL"]
    assert signed is not None
    assert httpx.get(signed).content == b"content"
    assert bucket.admin.remove([stored])[0]["name"] == stored


@pytest.mark.parametrize(
    "name", ["a#b.txt", "ä.txt", "日本.txt", "a[1].txt", "a{1}.txt", "a~.txt", "a\\b.txt"]
)
def test_a_name_of_other_characters_is_an_invalid_key(bucket: Bucket, name: str) -> None:
    with pytest.raises(StorageApiError) as refused:
        bucket.admin.upload(name, b"content")
    assert (refused.value.code, refused.value.status) == ("InvalidKey", "400")
    assert refused.value.message == f"Invalid key: {name}"


def test_a_file_is_uploaded_from_a_path_and_from_an_open_file(
    bucket: Bucket, tmp_path: Path
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 9000)
    bucket.admin.upload("path", path)
    with path.open("rb") as file:
        bucket.admin.upload("file", file)
    bucket.admin.upload("empty", b"")
    assert bucket.admin.download("path") == path.read_bytes()
    assert bucket.admin.download("file") == path.read_bytes()
    assert bucket.admin.download("empty") == b""
    assert bucket.admin.info("empty")["size"] == 0


def test_an_absent_object_is_a_404_in_the_body_of_a_400(bucket: Bucket) -> None:
    assert not bucket.admin.exists("absent")
    with bucket.target.http("storage") as http:
        for path in ("object", "object/authenticated", "object/info", "object/info/authenticated"):
            response = http.get(f"/{path}/{bucket.name}/absent.txt")
            assert response.status_code == 400
            assert response.json() == {
                "statusCode": "404",
                "error": "not_found",
                "message": "Object not found",
                "code": "NoSuchKey",
            }
        response = http.get("/object/no-such-bucket/absent.txt")
    assert response.json() == {
        "statusCode": "404",
        "error": "Bucket not found",
        "message": "Bucket not found",
        "code": "NoSuchBucket",
    }


def test_a_move_keeps_the_id_and_changes_name_and_version(bucket: Bucket) -> None:
    bucket.admin.upload("a.txt", b"abc", {"metadata": {"k": "v"}})
    before = bucket.admin.info("a.txt")
    assert bucket.admin.move("a.txt", "sub/b.txt") == {"message": "Successfully moved"}
    after = bucket.admin.info("sub/b.txt")
    assert bucket.names() == ["sub/b.txt"]
    assert after["version"] != before["version"]
    for same in ("id", "etag", "size", "metadata", "created_at"):
        assert after[same] == before[same]
    assert bucket.admin.download("sub/b.txt") == b"abc"


def test_a_move_to_another_bucket_takes_the_row_along(bucket: Bucket) -> None:
    storage = bucket.target.service.storage
    other = Bucket(f"{bucket.name[:80]}-other", bucket.target)
    storage.create_bucket(other.name)
    bucket.admin.upload("a.txt", b"abc")
    body = {
        "bucketId": bucket.name,
        "sourceKey": "a.txt",
        "destinationBucket": other.name,
        "destinationKey": "b.txt",
    }
    try:
        with bucket.target.http("storage") as http:
            assert http.post("/object/move", json=body).status_code == 200
        assert (bucket.names(), other.names()) == ([], ["b.txt"])
        assert other.admin.download("b.txt") == b"abc"
    finally:
        other.admin.remove(["b.txt"])
        storage.delete_bucket(other.name)


@pytest.mark.parametrize("operation", ["move", "copy"])
def test_onto_a_taken_name_is_a_duplicate_and_from_an_absent_one_not_found(
    bucket: Bucket, operation: str
) -> None:
    bucket.admin.upload("a.txt", b"a")
    bucket.admin.upload("b.txt", b"b")
    act = getattr(bucket.admin, operation)
    with pytest.raises(StorageApiError, match="The resource already exists"):
        act("a.txt", "b.txt")
    with pytest.raises(StorageApiError, match="Object not found"):
        act("absent.txt", "c.txt")
    with pytest.raises(StorageApiError, match="Invalid key"):
        act("a.txt", "ä.txt")
    assert bucket.admin.download("b.txt") == b"b"


def test_a_copy_is_another_object(bucket: Bucket) -> None:
    bucket.admin.upload("a.txt", b"abc", {"metadata": {"k": "v"}})
    answer = bucket.admin.copy("a.txt", "b.txt")
    first, second = bucket.admin.info("a.txt"), bucket.admin.info("b.txt")
    assert (answer["Id"], answer["Key"]) == (second["id"], f"{bucket.name}/b.txt")
    assert first["id"] != second["id"]
    assert first["version"] != second["version"]
    assert (second["etag"], second["metadata"]) == (first["etag"], {"k": "v"})
    bucket.admin.upload("a.txt", b"changed", {"upsert": "true"})
    assert bucket.admin.download("b.txt") == b"abc"


def test_removing_answers_what_was_removed_and_ignores_the_rest(bucket: Bucket) -> None:
    bucket.admin.upload("a.txt", b"a")
    removed = bucket.admin.remove(["a.txt", "absent.txt", "other/b.txt"])
    assert [row["name"] for row in removed] == ["a.txt"]
    assert set(removed[0]) >= {
        *("name", "bucket_id", "owner", "owner_id", "version", "id", "updated_at"),
        *("created_at", "last_accessed_at", "metadata", "user_metadata"),
    }
    assert bucket.admin.remove(["a.txt"]) == []


def test_a_listing_shows_one_folder(bucket: Bucket) -> None:
    for name in ("b.txt", "A.txt", "dir/x.txt", "dir/sub/y.txt", "Dir2/z.txt"):
        bucket.admin.upload(name, b"1")
    listing = bucket.admin.list()
    assert [item["name"] for item in listing] == ["A.txt", "b.txt", "dir", "Dir2"]
    assert [item["id"] is None for item in listing] == [False, False, True, True]
    assert listing[2] == {
        "name": "dir",
        **dict.fromkeys(["id", "updated_at", "created_at", "last_accessed_at", "metadata"]),
    }
    assert [item["name"] for item in bucket.admin.list("dir")] == ["sub", "x.txt"]
    assert bucket.admin.list("dir")[1]["metadata"]["size"] == 1
    page = bucket.admin.list("", {"limit": 2, "offset": 1, "sortBy": {"order": "desc"}})
    assert [item["name"] for item in page] == ["dir", "b.txt"]
    assert [item["name"] for item in bucket.admin.list("", {"search": "d"})] == ["dir", "Dir2"]
    by_time = bucket.admin.list("", {"sortBy": {"column": "created_at", "order": "desc"}})
    assert [item["name"] for item in by_time if item["id"]] == ["A.txt", "b.txt"]


def test_objects_belong_to_whoever_uploads_moves_or_copies(shared: Bucket, alice: User) -> None:
    path = f"{alice.id}/a.txt"
    shared.of(alice).upload(path, b"a")
    shared.admin.upload(path, b"by the secret key", {"upsert": "true"})
    shared.admin.move(path, f"{alice.id}/moved.txt")
    shared.admin.copy(f"{alice.id}/moved.txt", f"{alice.id}/copied.txt")
    owners = {row["name"]: row["owner_id"] for row in shared.admin.remove(shared.names())}
    assert owners == {f"{alice.id}/moved.txt": alice.id, f"{alice.id}/copied.txt": ""}


@pytest.mark.embedded_only("looks at the row")
def test_the_row_is_as_storage_writes_it(watched: Watched, alice: User) -> None:
    path = f"{alice.id}/report.pdf"
    watched.bucket.of(alice).upload(path, PDF, {"content-type": "application/pdf"})
    ((name, owner_id, _version, metadata, user_metadata, _id),) = watched.rows()
    assert (name, owner_id, user_metadata) == (path, alice.id, {})
    modified = metadata.pop("lastModified")
    assert len(modified) == len("2026-11-22T12:38:34.055Z")
    assert modified.endswith("Z")
    assert metadata == {
        "eTag": f'"{hashlib.md5(PDF).hexdigest()}"',
        "size": len(PDF),
        "mimetype": "application/pdf",
        "cacheControl": "max-age=3600",
        "contentLength": len(PDF),
        "httpStatusCode": 200,
    }
