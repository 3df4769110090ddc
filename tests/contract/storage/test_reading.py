"""Downloads and their headers, signed URLs."""

import hashlib

import httpx
import pytest

from tests.contract.storage.conftest import Bucket, Watched
from tests.support.api import KEYS

CONTENT = bytes(range(256)) * 4000
ETAG = f'"{hashlib.md5(CONTENT).hexdigest()}"'


@pytest.fixture
def path(bucket: Bucket) -> str:
    bucket.admin.upload("dir/a.bin", CONTENT, {"content-type": "application/pdf"})
    return f"{bucket.name}/dir/a.bin"


def test_a_download_carries_type_length_etag_and_caching(bucket: Bucket, path: str) -> None:
    with bucket.target.http("storage") as http:
        for prefix in ("/object", "/object/authenticated"):
            response = http.get(f"{prefix}/{path}")
            assert response.content == CONTENT
            assert response.headers["content-type"] == "application/pdf"
            assert response.headers["etag"] == ETAG
            assert response.headers["cache-control"] == "max-age=3600"


def test_nobody_finds_the_bucket(bucket: Bucket, path: str) -> None:
    url = f"{bucket.target.url}/storage/v1/object"
    assert httpx.get(f"{url}/{path}").json()["message"] == "Bucket not found"
    assert httpx.get(f"{url}/info/{path}").json()["message"] == "Bucket not found"
    refused = httpx.get(f"{url}/authenticated/{path}").json()
    assert refused == {
        "statusCode": "400",
        "error": "Error",
        "message": "headers must have required property 'authorization'",
        "code": "InvalidRequest",
    }


def test_a_signed_url_works_alone(bucket: Bucket, path: str) -> None:
    url = bucket.admin.create_signed_url("dir/a.bin", 60, {"download": "my file.pdf"})["signedURL"]
    assert url is not None
    response = httpx.get(url)
    assert response.content == CONTENT
    assert response.headers["content-disposition"] == (
        "attachment; filename=my%20file.pdf; filename*=UTF-8''my%20file.pdf"
    )


def test_a_token_is_good_for_its_object_only(bucket: Bucket, path: str) -> None:
    bucket.admin.upload("b.bin", b"b")
    base = f"{bucket.target.url}/storage/v1/object"
    signed = bucket.admin.create_signed_url("b.bin", 60)["signedURL"] or ""
    token = httpx.URL(signed).params["token"]
    other = httpx.get(f"{base}/sign/{path}", params={"token": token})
    assert (other.status_code, other.json()["error"]) == (400, "InvalidSignature")
    missing = httpx.get(f"{base}/sign/{path}")
    assert missing.json()["message"] == "querystring must have required property 'token'"
    as_user = bucket.target.http("storage", bearer=token)
    with as_user as http:
        assert http.get("/bucket").json() == [], "at most anon"


@pytest.mark.embedded_only("signs tokens with the secret of the project")
def test_an_expired_or_forged_token_is_refused(bucket: Bucket, path: str) -> None:
    for seconds, scope, error in (
        (-5, "download", "InvalidJWT"),
        (60, "upload", "InvalidSignature"),
    ):
        token = KEYS.sign({"url": path, "scope": scope}, seconds=seconds)
        url = f"{bucket.target.url}/storage/v1/object/sign/{path}?token={token}"
        assert httpx.get(url).json()["error"] == error


def test_html_is_served_as_text(bucket: Bucket) -> None:
    bucket.admin.upload("a.html", b"<b>", {"content-type": "text/html"})
    with bucket.target.http("storage") as http:
        content_type = http.get(f"/object/{bucket.name}/a.html").headers["content-type"]
    assert content_type.startswith("text/plain")
    assert bucket.admin.info("a.html")["content_type"] == "text/html"


@pytest.mark.embedded_only("writes rows without bytes")
def test_a_row_whose_bytes_are_gone_is_an_internal_error(watched: Watched) -> None:
    bucket = watched.bucket
    with watched.inside.database.connect() as connection:
        for name, version in (("a", "1"), ("b", "../../../etc/passwd"), ("c", None)):
            connection.execute(
                "insert into storage.objects (bucket_id, name, version) values (%s, %s, %s)",
                [bucket.name, name, version],
            )
    with bucket.target.http("storage") as http:
        for name in "abc":
            response = http.get(f"/object/{bucket.name}/{name}")
            assert response.status_code == 500
            assert response.json()["code"] == "InternalError"
