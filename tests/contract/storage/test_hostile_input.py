"""Bad requests of a client, by mistake or on purpose."""

import base64
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from storage3.exceptions import StorageApiError
from supabase import create_client

from tests.contract.storage.conftest import Bucket, Watched
from tests.contract.target import NAME, Target
from tests.support.api import KEYS, start_test_api


def connected(target: Target) -> socket.socket:
    """A connection to the API; with TLS if its address says so."""
    url = urlsplit(target.url)
    port = url.port or (443 if url.scheme == "https" else 80)
    plain = socket.create_connection((str(url.hostname), port), timeout=180)
    if url.scheme == "http":
        return plain
    return ssl.create_default_context().wrap_socket(plain, server_hostname=url.hostname)


def raw_request(
    target: Target, request_line: str, body: bytes = b"", **headers: str
) -> tuple[int, Any]:
    """Send a request that no client library would send, and read the whole answer."""
    lines = [
        request_line + " HTTP/1.1",
        f"Host: {urlsplit(target.url).hostname}",
        "Connection: close",
        f"apikey: {target.secret_key}",
        f"Authorization: Bearer {target.secret_key}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    with connected(target) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, content = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    return status, json.loads(content) if b"application/json" in head else content


@pytest.mark.parametrize(
    ("encoded", "stored"),
    [
        ("a%20b.txt", "a b.txt"),
        ("a%2Fb.txt", "a/b.txt"),
        ("a//b.txt", "a//b.txt"),
        ("a%26b%3Fc%2B.txt", "a&b?c+.txt"),
        ("a+b.txt", "a+b.txt"),
    ],
)
def test_a_name_in_a_path_is_decoded_once(bucket: Bucket, encoded: str, stored: str) -> None:
    path = f"/storage/v1/object/{bucket.name}/{encoded}"
    status, answer = raw_request(bucket.target, f"POST {path}", b"x")
    assert (status, answer["Key"]) == (200, f"{bucket.name}/{stored}")
    assert raw_request(bucket.target, f"GET {path}") == (200, b"x")
    assert [row["name"] for row in bucket.admin.remove([stored])] == [stored]


@pytest.mark.parametrize(
    "encoded",
    [
        *("a%252520.txt", "a%00b", "a%0Ab", "%2e%2e/secret", "..%2Fsecret", "a/../b", "./a", "a/."),
        *("%C3%A4", "%FF%FE", "%zz", "a%5Cb", "%2E%2E%2F%2E%2E%2Fetc%2Fpasswd", ""),
    ],
)
def test_a_name_that_could_mean_something_else_is_refused(bucket: Bucket, encoded: str) -> None:
    path = f"/storage/v1/object/{bucket.name}/{encoded}"
    for method in ("POST", "GET"):
        status, answer = raw_request(bucket.target, f"{method} {path}", b"x")
        assert (status, answer["code"]) == (400, "InvalidKey")
    assert bucket.names() == []


def test_a_slash_in_a_buckets_name_is_no_separator(bucket: Bucket) -> None:
    status, answer = raw_request(
        bucket.target, f"POST /storage/v1/object/{bucket.name}%2Fx/a.txt", b"x"
    )
    assert (status, answer["code"]) == (400, "InvalidBucketName")


@pytest.mark.parametrize("method", ["move", "copy"])
@pytest.mark.parametrize("name", ["../up", "a\x00b", "\ud800", "", "a\nb"])
def test_a_name_in_a_body_is_checked_too(bucket: Bucket, method: str, name: str) -> None:
    bucket.admin.upload("a.txt", b"a")
    body = {"bucketId": bucket.name, "sourceKey": "a.txt", "destinationKey": name}
    with bucket.target.http("storage") as http:
        response = http.post(f"/object/{method}", content=json.dumps(body))
    assert response.status_code == 400
    assert bucket.names() == ["a.txt"]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b"{", b"\xff", b"[" * 100_000, b'["\\ud800"]'),
        *(b'{"prefixes": []}', b'{"prefixes": "a"}', b'{"prefixes": [1]}'),
        b'{"prefixes": ["\\u0000"]}',
    ],
)
def test_a_body_that_makes_no_sense_is_refused(bucket: Bucket, body: bytes) -> None:
    with bucket.target.http("storage") as http:
        response = http.request("DELETE", f"/object/{bucket.name}", content=body)
    assert response.status_code == 400
    assert response.json()["code"] == "InvalidRequest"


def test_a_missing_property_is_named(bucket: Bucket) -> None:
    with bucket.target.http("storage") as http:
        listed = http.post(f"/object/list/{bucket.name}", json={"limit": 1})
        assert listed.json()["message"] == "body must have required property 'prefix'"
        sorted_by = {"prefix": "", "sortBy": {"column": "metadata; drop table storage.objects"}}
        assert http.post(f"/object/list/{bucket.name}", json=sorted_by).status_code == 400
        for seconds in (0, -1, "x", 10**12):
            signing = http.post(f"/object/sign/{bucket.name}/a", json={"expiresIn": seconds})
            assert signing.json()["code"] == "InvalidRequest"


def test_json_has_a_limit(bucket: Bucket) -> None:
    with bucket.target.http("storage") as http:
        response = http.post("/object/move", content=b'{"a": "' + b"x" * 2**21 + b'"}')
    assert response.status_code in (400, 413)
    assert response.json()["statusCode"] == "413"


def test_an_unknown_route_is_not_found(target: Target) -> None:
    status, answer = raw_request(target, "PATCH /storage/v1/object/a/b")
    assert (status, answer["error"]) == (404, "Not Found")


@pytest.mark.embedded_only("a project has these routes")
@pytest.mark.parametrize(
    "route",
    [
        *("POST /upload/resumable", "POST /s3/docs/a", "POST /object/list-v2/docs"),
        *("GET /bucket/docs", "POST /bucket/docs/empty", "DELETE /object/docs/a.txt"),
        *("PUT /object/docs/a.txt", "PUT /bucket/docs"),
        *("GET /object/public/docs/a", "POST /object/sign/docs", "GET /render/image/sign/docs/a"),
        "POST /object/upload/sign/docs/a",
    ],
)
def test_what_is_not_there_is_refused(target: Target, route: str) -> None:
    method, path = route.split()
    status, answer = raw_request(target, f"{method} /storage/v1{path}", b"{}")
    assert status in (400, 404), answer


BOUNDARY = "multipart/form-data; boundary=b"
HEAD = b"--b\r\nContent-Disposition: form-data; "


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        (BOUNDARY, b"x"),
        (BOUNDARY, b"--b\r\n\r\nno name\r\n--b--\r\n"),
        (BOUNDARY, HEAD + b'name="f"; filename="f"\r\n\r\ncut off'),
        ("multipart/form-data; boundary=" + "b" * 500, b"x"),
        (BOUNDARY, HEAD + b'name="f"\r\n\r\n'),
        (BOUNDARY, (HEAD + b'name="f"\r\n\r\nv\r\n') * 40),
        (BOUNDARY, b"--b\r\n" + b"x" * 100_000 + b": y\r\n"),
    ],
)
def test_a_broken_form_is_refused_and_leaves_nothing(
    bucket: Bucket, content_type: str, body: bytes
) -> None:
    status, answer = raw_request(
        bucket.target,
        f"POST /storage/v1/object/{bucket.name}/a.txt",
        body,
        **{"Content-Type": content_type},
    )
    assert (status, answer["code"]) == (400, "InvalidRequest")
    assert bucket.names() == []


@pytest.mark.embedded_only("looks at the files")
def test_an_upload_that_breaks_off_leaves_nothing(watched: Watched) -> None:
    bucket = watched.bucket
    incoming = watched.inside.server.settings.storage.data_dir / "incoming"
    secret = bucket.target.secret_key
    with connected(bucket.target) as connection:
        connection.sendall(
            f"POST /storage/v1/object/{bucket.name}/a.txt HTTP/1.1\r\nHost: x\r\n"
            f"apikey: {secret}\r\nAuthorization: Bearer {secret}\r\n"
            "Content-Length: 9000000\r\n\r\n".encode()
            + b"x" * 2_000_000
        )
        _wait_for(lambda: any(path.stat().st_size for path in incoming.iterdir()))
    _wait_for(lambda: not list(incoming.iterdir()))
    assert bucket.names() == []


def _wait_for(condition: Callable[[], bool]) -> None:
    # Poll, because nothing reports files that appear and vanish.
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_metadata_that_cannot_be_parsed_is_ignored_as_storage_does(bucket: Bucket) -> None:
    for number, header in enumerate(["not base64!", "bm90IGpzb24=", "W10=", "TmFO"]):
        with bucket.target.http("storage", **{"x-metadata": header}) as http:
            assert http.post(f"/object/{bucket.name}/{number}", content=b"x").status_code == 200
        assert bucket.admin.info(str(number))["metadata"] == {}


def test_user_metadata_has_a_limit_and_holds_no_nul(bucket: Bucket) -> None:
    with pytest.raises(StorageApiError):
        bucket.admin.upload("a", b"x", {"metadata": {"k": "x" * 2**20}})
    nul = base64.b64encode(json.dumps({"k": "\x00"}).encode()).decode()
    with bucket.target.http("storage", **{"x-metadata": nul}) as http:
        assert http.post(f"/object/{bucket.name}/a", content=b"x").status_code == 400
    assert bucket.names() == []


def test_a_header_cannot_be_smuggled_through_a_content_type(bucket: Bucket) -> None:
    form = (
        HEAD
        + b'name="contentType"\r\n\r\ntext/plain\r\nSet-Cookie: a=b\r\n'
        + HEAD
        + b'name="f"; filename="f"\r\n\r\nx\r\n--b--\r\n'
    )
    path = f"/storage/v1/object/{bucket.name}/a.txt"
    headers = {"Content-Type": BOUNDARY}
    uploaded, _answer = raw_request(bucket.target, f"POST {path}", form, **headers)
    status, answer = raw_request(bucket.target, f"GET {path}")
    assert uploaded == 400 or (status, answer["code"]) == (400, "InvalidRequest")


@pytest.mark.parametrize("content_type", ["thisisnotarealmimetype", "image/\tjpg", "a/b/c"])
def test_a_malformed_content_type_is_refused(bucket: Bucket, content_type: str) -> None:
    path = f"/storage/v1/object/{bucket.name}/a.txt"
    status, answer = raw_request(
        bucket.target, f"POST {path}", b"x", **{"Content-Type": content_type}
    )
    assert status == 400
    assert answer == {
        "statusCode": "415",
        "error": "invalid_mime_type",
        "message": "Invalid Content-Type header",
        "code": "InvalidMimeType",
    }


TOO_LARGE = {
    "statusCode": "413",
    "error": "Payload too large",
    "message": "The object exceeded the maximum allowed size",
    "code": "EntityTooLarge",
}


@pytest.fixture
def limited(target: Target) -> Iterator[Bucket]:
    """A bucket for small texts and images."""
    storage = target.service.storage
    made = Bucket(f"{NAME}-{uuid4()}", target)
    limits: Any = {"file_size_limit": 1000, "allowed_mime_types": ["text/plain", "image/*"]}
    storage.create_bucket(made.name, options=limits)
    yield made
    made.admin.remove([*made.names(), "nothing"])
    storage.delete_bucket(made.name)


def test_a_buckets_limits_hold_for_forms_raw_bodies_and_streams(limited: Bucket) -> None:
    url = f"/object/{limited.name}/a.txt"
    plain = {"content-type": "text/plain"}
    with limited.target.http("storage") as http:
        form = http.post(url, files={"file": ("a", b"x" * 1001, "text/plain")})
        known = http.post(url, content=b"x" * 1001, headers=plain)
        streamed = http.post(url, content=iter([b"x" * 600, b"x" * 600]), headers=plain)
        for response in (form, known, streamed):
            assert (response.status_code, response.json()) == (400, TOO_LARGE)
        wrong = http.post(url, files={"file": ("a", b"x", "application/pdf")})
        assert wrong.json() == {
            "statusCode": "415",
            "error": "invalid_mime_type",
            "message": "mime type application/pdf is not supported",
            "code": "InvalidMimeType",
        }
        assert limited.names() == []
        assert http.post(url, content=b"x" * 1000, headers=plain).status_code == 200
        image = http.post(f"{url}.png", content=b"x", headers={"content-type": "image/png"})
        assert image.status_code == 200
        folder = http.post(f"/object/{limited.name}/new/.emptyFolderPlaceholder", content=b"")
        assert folder.status_code == 200, "exempt from the bucket's types"
        filled = http.post(f"/object/{limited.name}/n2/.emptyFolderPlaceholder", content=b"x")
        assert filled.json() == TOO_LARGE


@pytest.mark.embedded_only("starts an API of its own")
def test_the_projects_limit_holds_and_nothing_secret_is_logged(
    watched: Watched, tmp_path: Path
) -> None:
    server = start_test_api(
        watched.inside.database, tmp_path, max_file_bytes=500, deliver_webhooks=False
    )
    try:
        admin = create_client(server.url, KEYS.secret_key).storage.from_(watched.bucket.name)
        for content in (b"x" * 501, b"x" * 20_000_000):
            with pytest.raises(StorageApiError, match="The object exceeded the maximum"):
                admin.upload("a", content)
        admin.upload("a", b"x" * 500)
        (server.settings.storage.data_dir / "versions").rename(tmp_path / "gone")
        with pytest.raises(StorageApiError, match="Internal Server Error"):
            admin.download("a")
    finally:
        server.stop()
    log = (tmp_path / "api.log").read_text()
    assert "object_bytes_missing" in log
    for secret in (KEYS.secret_key, server.settings.keys.jwt_secret):
        assert secret not in log
        assert secret not in repr(server)
    assert server.settings.storage.database_url not in repr(server)
