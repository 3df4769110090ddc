"""Objects over supabase-py: what each call answers and what it leaves in the row."""

import hashlib
from pathlib import Path
from uuid import UUID

import pytest
from storage3.exceptions import StorageApiError

from tests.contract.storage.conftest import ALICE, Bucket, mine

PDF = b"%PDF-1.4 pretend"


def test_an_upload_fills_the_row_as_storage_does(bucket: Bucket) -> None:
    answer = bucket.alice.upload(
        mine("report.pdf"),
        PDF,
        {"content-type": "application/pdf", "metadata": {"title": "Report", "tags": ["a"]}},
    )
    assert answer.full_path == f"{bucket.name}/{mine('report.pdf')}"
    ((name, owner_id, version, metadata, user_metadata, _),) = bucket.rows()
    assert (name, owner_id) == (mine("report.pdf"), ALICE)
    assert UUID(version).version == 4
    assert user_metadata == {"title": "Report", "tags": ["a"]}
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


def test_an_upload_without_options_is_plain_text_with_empty_user_metadata(bucket: Bucket) -> None:
    bucket.alice.upload(mine("report.pdf"), PDF)
    ((_, _, _, metadata, user_metadata, _),) = bucket.rows()
    assert (metadata["mimetype"], user_metadata) == ("text/plain", {})


def test_the_secret_key_owns_nothing_and_takes_nothing(bucket: Bucket) -> None:
    bucket.admin.upload("a.txt", b"a")
    bucket.alice.upload(mine("b.txt"), b"b")
    bucket.admin.upload(mine("b.txt"), b"b2", {"upsert": "true"})
    owners = {row[0]: row[1] for row in bucket.rows()}
    assert owners == {"a.txt": None, mine("b.txt"): ALICE}


def test_an_upsert_keeps_the_id_and_changes_the_version(bucket: Bucket) -> None:
    bucket.alice.upload(mine("a.txt"), b"one", {"metadata": {"n": 1}})
    ((_, _, version, metadata, _, object_id),) = bucket.rows()
    bucket.alice.upload(mine("a.txt"), b"one", {"upsert": "true"})
    ((_, _, new_version, new_metadata, user_metadata, new_id),) = bucket.rows()
    assert new_id == object_id
    assert new_version != version
    assert new_metadata["eTag"] == metadata["eTag"]
    assert user_metadata == {}, "what the second upload does not say is gone"
    bucket.alice.update(mine("a.txt"), b"three")
    assert bucket.alice.download(mine("a.txt")) == b"three"
    assert bucket.rows()[0][5] == object_id


def test_old_bytes_go_after_an_overwrite_a_move_and_a_removal(bucket: Bucket) -> None:
    versions = bucket.project.storage.settings.storage.data_dir / "versions"

    def stored() -> set[str]:
        return {path.name for path in versions.glob("*/*")}

    before = stored()
    bucket.admin.upload("a.txt", b"1")
    bucket.admin.update("a.txt", b"2")
    assert stored() - before == {bucket.rows()[0][2]}
    bucket.admin.move("a.txt", "b.txt")
    assert stored() - before == {bucket.rows()[0][2]}
    bucket.admin.remove(["b.txt"])
    assert stored() == before


def test_an_upload_to_a_taken_path_is_a_duplicate(bucket: Bucket) -> None:
    bucket.alice.upload(mine("a.txt"), b"one")
    with pytest.raises(StorageApiError) as refused:
        bucket.alice.upload(mine("a.txt"), b"two")
    assert refused.value.to_dict() == {
        "name": "StorageApiError",
        "code": "Duplicate",
        "message": "The resource already exists",
        "status": "409",
    }
    assert bucket.alice.download(mine("a.txt")) == b"one"


@pytest.mark.parametrize(
    "name",
    [
        "with space.txt",
        "what?.txt",
        "a&b.txt",
        "(1) copy.txt",
        "it's.txt",
        "a+b=c,d;e@f:g$h!.txt",
        ".hidden",
        "plus+and%20space.txt",
    ],
)
def test_a_name_of_accepted_characters_makes_the_whole_way(bucket: Bucket, name: str) -> None:
    path = mine(name)
    bucket.alice.upload(path, b"content")
    assert bucket.rows()[0][0] == path.replace("%20", " ")
    assert bucket.alice.download(path) == b"content"
    assert bucket.alice.info(path)["name"] == path.replace("%20", " ")
    assert bucket.alice.exists(path)
    signed = bucket.alice.create_signed_url(path, 60)["signedURL"]
    assert signed is not None
    with bucket.project.http() as http:
        assert http.get(signed, headers={"apikey": "", "Authorization": ""}).content == b"content"
    assert bucket.alice.remove([path.replace("%20", " ")])[0]["name"] == path.replace("%20", " ")


@pytest.mark.parametrize(
    "name", ["a#b.txt", "ä.txt", "日本.txt", "a[1].txt", "a{1}.txt", "a~.txt", "a\\b.txt"]
)
def test_a_name_of_other_characters_is_an_invalid_key(bucket: Bucket, name: str) -> None:
    with pytest.raises(StorageApiError) as refused:
        bucket.alice.upload(mine(name), b"content")
    assert refused.value.to_dict() == {
        "name": "StorageApiError",
        "code": "InvalidKey",
        "message": f"Invalid key: {mine(name)}",
        "status": "400",
    }


def test_a_file_is_uploaded_from_a_path_and_from_an_open_file(
    bucket: Bucket, tmp_path: Path
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 5000)
    bucket.alice.upload(mine("path"), path)
    with path.open("rb") as file:
        bucket.alice.upload(mine("file"), file)
    assert bucket.alice.download(mine("path")) == path.read_bytes()
    assert bucket.alice.download(mine("file")) == path.read_bytes()


def test_an_empty_object_is_stored(bucket: Bucket) -> None:
    bucket.alice.upload(mine("empty"), b"")
    assert bucket.alice.download(mine("empty")) == b""
    assert bucket.alice.info(mine("empty"))["size"] == 0


def test_info_tells_what_storage_knows(bucket: Bucket) -> None:
    bucket.alice.upload(mine("a.txt"), b"abc", {"metadata": {"k": "v"}, "cache-control": "60"})
    ((name, _, version, metadata, _, object_id),) = bucket.rows()
    info = bucket.alice.info(name)
    assert info.pop("created_at").endswith("Z")
    assert info.pop("last_modified").endswith("Z")
    assert info == {
        "id": str(object_id),
        "name": name,
        "version": version,
        "bucket_id": bucket.name,
        "size": 3,
        "content_type": "text/plain",
        "cache_control": "max-age=60",
        "etag": metadata["eTag"],
        "metadata": {"k": "v"},
    }


def test_an_absent_object_is_a_404_in_the_body_of_a_400(bucket: Bucket) -> None:
    assert not bucket.alice.exists(mine("absent"))
    with bucket.project.http() as http:
        for path in ("object", "object/authenticated", "object/info"):
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
    bucket.alice.upload(mine("a.txt"), b"abc", {"metadata": {"k": "v"}})
    ((_, _, version, metadata, _, object_id),) = bucket.rows()
    assert bucket.alice.move(mine("a.txt"), mine("sub/b.txt")) == {"message": "Successfully moved"}
    ((name, owner_id, new_version, new_metadata, user_metadata, new_id),) = bucket.rows()
    assert (name, owner_id, new_id) == (mine("sub/b.txt"), ALICE, object_id)
    assert new_version != version
    assert new_metadata["eTag"] == metadata["eTag"]
    assert new_metadata["lastModified"] >= metadata["lastModified"]
    assert user_metadata == {"k": "v"}
    assert bucket.alice.download(name) == b"abc"
    assert not bucket.alice.exists(mine("a.txt"))


def test_a_move_by_the_secret_key_keeps_the_owner(bucket: Bucket) -> None:
    bucket.alice.upload(mine("a.txt"), b"abc")
    bucket.admin.move(mine("a.txt"), "elsewhere.txt")
    assert bucket.rows()[0][:2] == ("elsewhere.txt", ALICE)


def test_a_move_to_another_bucket_takes_the_row_along(bucket: Bucket) -> None:
    bucket.project.clients["admin"].storage.create_bucket(f"{bucket.name}-other")
    bucket.admin.upload("a.txt", b"abc")
    with bucket.project.http() as http:
        body = {
            "bucketId": bucket.name,
            "sourceKey": "a.txt",
            "destinationBucket": f"{bucket.name}-other",
            "destinationKey": "b.txt",
        }
        assert http.post("/object/move", json=body).status_code == 200
    assert bucket.rows() == []
    other = Bucket(f"{bucket.name}-other", bucket.project)
    assert other.admin.download("b.txt") == b"abc"


@pytest.mark.parametrize("operation", ["move", "copy"])
def test_onto_a_taken_name_is_a_duplicate_and_from_an_absent_one_not_found(
    bucket: Bucket, operation: str
) -> None:
    bucket.alice.upload(mine("a.txt"), b"a")
    bucket.alice.upload(mine("b.txt"), b"b")
    act = getattr(bucket.alice, operation)
    with pytest.raises(StorageApiError, match="The resource already exists"):
        act(mine("a.txt"), mine("b.txt"))
    with pytest.raises(StorageApiError, match="Object not found"):
        act(mine("absent.txt"), mine("c.txt"))
    with pytest.raises(StorageApiError, match="Invalid key"):
        act(mine("a.txt"), mine("ä.txt"))
    assert bucket.alice.download(mine("b.txt")) == b"b"


def test_a_copy_is_another_object_of_the_copier(bucket: Bucket) -> None:
    bucket.alice.upload(mine("a.txt"), b"abc", {"metadata": {"k": "v"}})
    answer = bucket.alice.copy(mine("a.txt"), mine("b.txt"))
    first, second = bucket.rows()
    assert (answer["Id"], answer["Key"]) == (str(second[5]), f"{bucket.name}/{mine('b.txt')}")
    assert first[5] != second[5]
    assert first[2] != second[2]
    assert (second[1], second[3]["eTag"], second[4]) == (ALICE, first[3]["eTag"], {"k": "v"})
    bucket.alice.update(mine("a.txt"), b"changed")
    assert bucket.alice.download(mine("b.txt")) == b"abc"
    bucket.admin.copy(mine("a.txt"), "c.txt")
    assert bucket.rows()[-1][:2] == ("c.txt", None), "the secret key owns no copy"


def test_copy_may_replace_the_metadata(bucket: Bucket) -> None:
    bucket.admin.upload("a.txt", b"abc", {"metadata": {"k": "v"}})
    with bucket.project.http(**{"x-metadata": "eyJuZXciOiAxfQ=="}) as http:
        body = {
            "bucketId": bucket.name,
            "sourceKey": "a.txt",
            "destinationKey": "b.txt",
            "copyMetadata": False,
            "metadata": {"mimetype": "text/markdown"},
        }
        assert http.post("/object/copy", json=body).status_code == 200
    assert bucket.rows()[1][4] == {"new": 1}
    assert bucket.rows()[1][3]["mimetype"] == "text/markdown"
    assert bucket.rows()[1][3]["cacheControl"] == "max-age=3600"


def test_removing_answers_what_was_removed_and_ignores_the_rest(bucket: Bucket) -> None:
    bucket.alice.upload(mine("a.txt"), b"a")
    removed = bucket.alice.remove([mine("a.txt"), mine("absent.txt"), "other/b.txt"])
    assert [row["name"] for row in removed] == [mine("a.txt")]
    assert set(removed[0]) == {
        *("name", "bucket_id", "owner", "owner_id", "version", "id", "updated_at"),
        *("created_at", "last_accessed_at", "metadata", "user_metadata"),
    }
    assert bucket.alice.remove([mine("a.txt")]) == []


def test_one_object_is_removed_by_its_own_route(bucket: Bucket) -> None:
    bucket.admin.upload("dir/a.txt", b"a")
    with bucket.project.http() as http:
        answer = http.delete(f"/object/{bucket.name}/dir/a.txt")
        assert answer.json() == {"message": "Successfully deleted"}
        assert http.delete(f"/object/{bucket.name}/dir/a.txt").json()["code"] == "NoSuchKey"


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
    assert [item["name"] for item in by_time] == ["dir", "Dir2", "A.txt", "b.txt"]


def test_a_second_version_listing_pages_by_cursor(bucket: Bucket) -> None:
    names = ["B.txt", "a.txt", "dir/x.txt", "dir/y.txt", "e.txt"]
    for name in names:
        bucket.admin.upload(name, b"1")
    flat, cursor = [], None
    while True:
        page = bucket.admin.list_v2({"limit": 2, **({"cursor": cursor} if cursor else {})})
        flat += [item.name for item in page.objects]
        cursor = page.nextCursor
        if not page.hasNext:
            break
    assert flat == names

    first = bucket.admin.list_v2({"limit": 3, "with_delimiter": True})
    assert [item.name for item in first.folders] == ["dir/"]
    assert [item.name for item in first.objects] == ["B.txt", "a.txt"]
    second = bucket.admin.list_v2({"with_delimiter": True, "cursor": first.nextCursor or ""})
    assert [item.name for item in second.objects] == ["e.txt"]
    inside = bucket.admin.list_v2({"prefix": "dir/", "with_delimiter": True})
    assert [(item.key, item.name) for item in inside.objects] == [
        ("x.txt", "dir/x.txt"),
        ("y.txt", "dir/y.txt"),
    ]


def test_a_second_version_listing_pages_by_time_too(bucket: Bucket) -> None:
    for name in ("c", "a", "b"):
        bucket.admin.upload(name, b"1")
    first = bucket.admin.list_v2({"limit": 2, "sortBy": {"column": "created_at", "order": "desc"}})
    second = bucket.admin.list_v2({"limit": 2, "cursor": first.nextCursor or ""})
    assert [item.name for item in first.objects + second.objects] == ["b", "a", "c"]


def test_signed_urls_are_made_for_many_paths_at_once(bucket: Bucket) -> None:
    bucket.alice.upload(mine("a.txt"), b"a")
    found, absent = bucket.alice.create_signed_urls([mine("a.txt"), mine("absent")], 60)
    assert absent["error"] == "Either the object does not exist or you do not have access to it"
    assert absent["signedURL"] is None
    assert found["error"] is None
    with bucket.project.http() as http:
        assert http.get(found["signedURL"] or "").content == b"a"
    with pytest.raises(StorageApiError, match="Object not found"):
        bucket.bob.create_signed_url(mine("a.txt"), 60)


def test_a_signed_upload_url_uploads_as_whoever_signed(bucket: Bucket) -> None:
    signed = bucket.alice.create_signed_upload_url(mine("a.txt"))
    answer = bucket.bob.upload_to_signed_url(mine("a.txt"), signed["token"], b"by bob")
    assert answer.full_path == f"{bucket.name}/{mine('a.txt')}"
    assert bucket.rows()[0][:2] == (mine("a.txt"), ALICE)
    with pytest.raises(StorageApiError, match="The resource already exists"):
        bucket.bob.upload_to_signed_url(mine("a.txt"), signed["token"], b"again")
    with pytest.raises(StorageApiError, match="Invalid signature"):
        bucket.bob.upload_to_signed_url(mine("b.txt"), signed["token"], b"elsewhere")
    with pytest.raises(StorageApiError, match="row-level security"):
        bucket.bob.create_signed_upload_url(mine("c.txt"))
