"""The headers of downloads: caching, ranges, HEAD, public buckets, signed URLs."""

import hashlib

import httpx
import jwt
import pytest

from tests.contract.storage.conftest import JWT_SECRET, Bucket, mine, token

CONTENT = bytes(range(256)) * 8
ETAG = f'"{hashlib.md5(CONTENT).hexdigest()}"'


@pytest.fixture
def path(bucket: Bucket) -> str:
    bucket.alice.upload(mine("a.bin"), CONTENT, {"content-type": "application/pdf"})
    return f"{bucket.name}/{mine('a.bin')}"


def test_a_download_carries_type_length_etag_and_caching(bucket: Bucket, path: str) -> None:
    with bucket.project.http(token()) as http:
        for prefix in ("/object", "/object/authenticated"):
            response = http.get(f"{prefix}/{path}")
            assert response.content == CONTENT
            headers = response.headers
            assert headers["content-type"] == "application/pdf"
            assert headers["etag"] == ETAG
            assert headers["cache-control"] == "max-age=3600"
            assert headers["accept-ranges"] == "bytes"
            assert headers["x-robots-tag"] == "none"
            assert headers["last-modified"].endswith("GMT")


def test_a_known_etag_is_answered_with_304(bucket: Bucket, path: str) -> None:
    with bucket.project.http(token()) as http:
        same = http.get(f"/object/{path}", headers={"If-None-Match": ETAG})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", ETAG)
        other = http.get(f"/object/{path}", headers={"If-None-Match": '"x"'})
        assert (other.status_code, other.content) == (200, CONTENT)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, 2048),
        ("bytes=-5", 2043, 2048),
        ("bytes=2000-9999", 2000, 2048),
        ("bytes=-9999", 0, 2048),
    ],
)
def test_a_range_is_answered_with_206(
    bucket: Bucket, path: str, asked: str, start: int, end: int
) -> None:
    with bucket.project.http(token()) as http:
        response = http.get(f"/object/{path}", headers={"Range": asked})
    assert (response.status_code, response.content) == (206, CONTENT[start:end])
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/2048"
    assert response.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("asked", ["bytes=2048-", "bytes=9-3", "bytes=-", "chars=1-2", "bytes=-0"])
def test_a_range_outside_is_answered_with_416(bucket: Bucket, path: str, asked: str) -> None:
    with bucket.project.http(token()) as http:
        response = http.get(f"/object/{path}", headers={"Range": asked})
    assert response.status_code == 416
    assert response.json() == {
        "statusCode": "416",
        "error": "invalid_range",
        "message": "invalid range provided",
        "code": "InvalidRange",
    }


def test_head_has_the_headers_and_no_body(bucket: Bucket, path: str) -> None:
    with bucket.project.http(token()) as http:
        for prefix in ("/object", "/object/authenticated"):
            response = http.head(f"{prefix}/{path}")
            assert (response.status_code, response.content) == (200, b"")
            assert response.headers["content-length"] == "2048"
            assert response.headers["etag"] == ETAG
        assert http.head(f"/object/{path}.absent").status_code == 400
        assert http.get(f"/object/info/authenticated/{path}").json()["size"] == 2048


def test_a_private_bucket_is_not_found_by_nobody(bucket: Bucket, path: str) -> None:
    url = f"{bucket.project.storage.url}/storage/v1/object"
    assert httpx.get(f"{url}/{path}").json()["message"] == "Bucket not found"
    assert httpx.get(f"{url}/public/{path}").json()["message"] == "Bucket not found"
    refused = httpx.get(f"{url}/authenticated/{path}").json()
    assert refused == {
        "statusCode": "400",
        "error": "Error",
        "message": "headers must have required property 'authorization'",
        "code": "InvalidRequest",
    }


def test_a_public_bucket_is_read_by_everyone(bucket: Bucket, path: str) -> None:
    bucket.project.clients["admin"].storage.update_bucket(bucket.name, {"public": True})
    url = f"{bucket.project.storage.url}/storage/v1/object"
    assert httpx.get(f"{url}/public/{path}").content == CONTENT
    assert httpx.head(f"{url}/public/{path}").headers["content-length"] == "2048"
    assert httpx.get(f"{url}/info/public/{path}").json()["size"] == 2048
    assert httpx.get(f"{url}/{path}").content == CONTENT
    assert httpx.get(bucket.alice.get_public_url(mine("a.bin"))).content == CONTENT
    assert bucket.bob.download(mine("a.bin")) == CONTENT


def test_a_signed_url_works_alone_until_it_expires(bucket: Bucket, path: str) -> None:
    url = bucket.alice.create_signed_url(mine("a.bin"), 60, {"download": "my file.pdf"})[
        "signedURL"
    ]
    assert url is not None
    response = httpx.get(url)
    assert response.content == CONTENT
    assert response.headers["expires"].endswith("GMT")
    assert "cache-control" not in response.headers
    assert response.headers["content-disposition"] == (
        "attachment; filename=my%20file.pdf; filename*=UTF-8''my%20file.pdf"
    )
    expired = jwt.encode({"url": path, "scope": "download", "exp": 1}, JWT_SECRET, "HS256")
    answer = httpx.get(
        f"{bucket.project.storage.url}/storage/v1/object/sign/{path}?token={expired}"
    )
    assert answer.json() == {
        "statusCode": "400",
        "error": "InvalidJWT",
        "message": '"exp" claim timestamp check failed',
        "code": "InvalidJWT",
    }


def test_a_token_is_good_for_its_object_and_purpose_only(bucket: Bucket, path: str) -> None:
    bucket.alice.upload(mine("b.bin"), b"b")
    base = f"{bucket.project.storage.url}/storage/v1/object"
    signed = bucket.alice.create_signed_url(mine("b.bin"), 60)["signedURL"] or ""
    download = httpx.URL(signed).params["token"]
    other = httpx.get(f"{base}/sign/{path}", params={"token": download})
    assert other.json()["message"] == "Invalid signature"
    wrong_way = httpx.put(f"{base}/upload/sign/{path}", params={"token": download}, content=b"x")
    assert wrong_way.json()["message"] == "Token is not scoped for upload"
    upload = bucket.alice.create_signed_upload_url(mine("new.bin"))["token"]
    reading = httpx.get(f"{base}/sign/{bucket.name}/{mine('new.bin')}", params={"token": upload})
    assert reading.json()["message"] == "Token is not scoped for download"
    missing = httpx.get(f"{base}/sign/{path}")
    assert missing.json()["message"] == "querystring must have required property 'token'"


def test_html_is_served_as_text(bucket: Bucket) -> None:
    bucket.admin.upload("a.html", b"<b>", {"content-type": "text/html"})
    with bucket.project.http() as http:
        assert http.get(f"/object/{bucket.name}/a.html").headers["content-type"] == "text/plain"
    assert bucket.rows()[0][3]["mimetype"] == "text/html"


def test_a_row_whose_bytes_are_gone_is_an_internal_error(bucket: Bucket) -> None:
    with bucket.project.database.connect() as connection:
        for name, version in (("a", "1"), ("b", "../../../etc/passwd"), ("c", None)):
            connection.execute(
                "insert into storage.objects (bucket_id, name, version) values (%s, %s, %s)",
                [bucket.name, name, version],
            )
    with bucket.project.http() as http:
        for name in "abc":
            response = http.get(f"/object/{bucket.name}/{name}")
            assert response.status_code == 500
            assert response.json()["code"] == "InternalError"
    assert len(bucket.admin.remove(["a", "b", "c"])) == 3
