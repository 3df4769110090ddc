"""What a client may send by mistake or on purpose."""

import base64
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from docmill.embedded.api import ApiServer
from tests.contract.storage.conftest import (
    SECRET_KEY,
    Bucket,
    Project,
    client_for,
    mine,
)
from tests.support.api import start_test_api


def raw_request(
    project: Project, request_line: str, body: bytes = b"", **headers: str
) -> tuple[int, Any]:
    """Send a request that no client library would send, and read the whole answer."""
    settings = project.storage.settings
    lines = [
        request_line + " HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        f"apikey: {SECRET_KEY}",
        f"Authorization: Bearer {SECRET_KEY}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    with socket.create_connection((settings.host, settings.port), timeout=10) as connection:
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
    status, answer = raw_request(bucket.project, f"POST {path}", b"x")
    assert (status, answer["Key"]) == (200, f"{bucket.name}/{stored}")
    assert bucket.rows()[0][0] == stored
    assert raw_request(bucket.project, f"GET {path}") == (200, b"x")


@pytest.mark.parametrize(
    "encoded",
    [
        *("a%252520.txt", "a%00b", "a%0Ab", "%2e%2e/secret", "..%2Fsecret", "a/../b", "./a", "a/."),
        *("%C3%A4", "%FF%FE", "%zz", "a%5Cb", "%2E%2E%2F%2E%2E%2Fetc%2Fpasswd", ""),
    ],
)
def test_a_name_that_could_mean_something_else_is_refused(bucket: Bucket, encoded: str) -> None:
    path = f"/storage/v1/object/{bucket.name}/{encoded}"
    for method in ("POST", "PUT", "GET"):
        status, answer = raw_request(bucket.project, f"{method} {path}", b"x")
        assert (status, answer["code"]) == (400, "InvalidKey")
    assert bucket.rows() == []


def test_a_slash_in_a_buckets_name_is_no_separator(bucket: Bucket) -> None:
    status, answer = raw_request(
        bucket.project, f"POST /storage/v1/object/{bucket.name}%2Fx/a.txt", b"x"
    )
    assert (status, answer["code"]) == (400, "InvalidBucketName")


@pytest.mark.parametrize("method", ["move", "copy"])
@pytest.mark.parametrize("name", ["../up", "a\x00b", "\ud800", "", "a\nb"])
def test_a_name_in_a_body_is_checked_too(bucket: Bucket, method: str, name: str) -> None:
    bucket.admin.upload("a.txt", b"a")
    body = {"bucketId": bucket.name, "sourceKey": "a.txt", "destinationKey": name}
    with bucket.project.http() as http:
        response = http.post(f"/object/{method}", content=json.dumps(body))
    assert response.status_code == 400
    assert [row[0] for row in bucket.rows()] == ["a.txt"]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b"{", b"\xff", b"[" * 100_000, b'["\\ud800"]'),
        *(b'{"prefixes": []}', b'{"prefixes": "a"}', b'{"prefixes": [1]}'),
        b'{"prefixes": ["\\u0000"]}',
    ],
)
def test_a_body_that_makes_no_sense_is_refused(bucket: Bucket, body: bytes) -> None:
    with bucket.project.http() as http:
        response = http.request("DELETE", f"/object/{bucket.name}", content=body)
    assert response.status_code == 400
    assert response.json()["code"] == "InvalidRequest"


def test_a_missing_property_is_named(bucket: Bucket) -> None:
    with bucket.project.http() as http:
        listed = http.post(f"/object/list/{bucket.name}", json={"limit": 1})
        assert listed.json()["message"] == "body must have required property 'prefix'"
        sorted_by = {"prefix": "", "sortBy": {"column": "metadata; drop table storage.objects"}}
        assert http.post(f"/object/list/{bucket.name}", json=sorted_by).status_code == 400
        cursor = http.post(f"/object/list-v2/{bucket.name}", json={"cursor": "///"})
        assert cursor.json()["message"] == "Invalid Parameter continuation token"
        for seconds in (0, -1, "x", 10**12):
            signing = http.post(f"/object/sign/{bucket.name}/a", json={"expiresIn": seconds})
            assert signing.json()["code"] == "InvalidRequest"


def test_json_has_a_limit(bucket: Bucket) -> None:
    with bucket.project.http() as http:
        response = http.post("/object/move", content=b'{"a": "' + b"x" * 2**21 + b'"}')
    assert response.status_code == 413
    assert response.json()["message"] == "Request body is too large"


def test_an_unknown_route_is_not_found(storage_project: Project) -> None:
    status, answer = raw_request(storage_project, "PATCH /storage/v1/object/a/b")
    assert (status, answer["error"], answer["code"]) == (404, "Not Found", "InvalidRequest")
    assert raw_request(storage_project, "GET /elsewhere")[0] == 404


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nno name\r\n--b--\r\n"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\ncut off',
        ),
        ("multipart/form-data; boundary=" + "b" * 500, b"x"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\n' * 1,
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\nv\r\n' * 40,
        ),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"x" * 100_000 + b": y\r\n"),
    ],
)
def test_a_broken_form_is_refused_and_leaves_nothing(
    bucket: Bucket, content_type: str, body: bytes
) -> None:
    incoming = bucket.project.storage.settings.storage.data_dir / "incoming"
    status, answer = raw_request(
        bucket.project,
        f"POST /storage/v1/object/{bucket.name}/a.txt",
        body,
        **{"Content-Type": content_type},
    )
    assert (status, answer["code"]) == (400, "InvalidRequest")
    assert bucket.rows() == []
    assert list(incoming.iterdir()) == []


def test_an_upload_that_breaks_off_leaves_nothing(bucket: Bucket) -> None:
    settings = bucket.project.storage.settings
    incoming = settings.storage.data_dir / "incoming"
    with socket.create_connection((settings.host, settings.port), timeout=10) as connection:
        connection.sendall(
            f"POST /storage/v1/object/{bucket.name}/a.txt HTTP/1.1\r\nHost: x\r\n"
            f"apikey: {SECRET_KEY}\r\nAuthorization: Bearer {SECRET_KEY}\r\n"
            "Content-Length: 9000000\r\n\r\n".encode()
            + b"x" * 2_000_000
        )
        _wait_for(lambda: any(path.stat().st_size for path in incoming.iterdir()))
    _wait_for(lambda: not list(incoming.iterdir()))
    assert bucket.rows() == []


def _wait_for(condition: Callable[[], bool]) -> None:
    # Nothing tells us of files that come and go.
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_metadata_that_cannot_be_parsed_is_ignored_as_storage_does(bucket: Bucket) -> None:
    for number, header in enumerate(["not base64!", "bm90IGpzb24=", "W10=", "TmFO"]):
        with bucket.project.http(**{"x-metadata": header}) as http:
            assert http.post(f"/object/{bucket.name}/{number}", content=b"x").status_code == 200
    assert [row[4] for row in bucket.rows()] == [{}] * 4


def test_user_metadata_has_a_limit_and_holds_no_nul(bucket: Bucket) -> None:
    with pytest.raises(Exception, match="The user_metadata exceeded the maximum allowed size"):
        bucket.admin.upload("a", b"x", {"metadata": {"k": "x" * 2**20}})
    nul = base64.b64encode(json.dumps({"k": "\x00"}).encode()).decode()
    with bucket.project.http(**{"x-metadata": nul}) as http:
        assert http.post(f"/object/{bucket.name}/a", content=b"x").status_code == 400
    assert bucket.rows() == []


def test_a_header_cannot_be_smuggled_through_a_content_type(bucket: Bucket) -> None:
    form = (
        b'--b\r\nContent-Disposition: form-data; name="contentType"\r\n\r\n'
        b"text/plain\r\nSet-Cookie: a=b\r\n"
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nx\r\n--b--\r\n'
    )
    path = f"/storage/v1/object/{bucket.name}/a.txt"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert raw_request(bucket.project, f"POST {path}", form, **headers)[0] == 200
    status, answer = raw_request(bucket.project, f"GET {path}")
    assert (status, answer["error"]) == (400, "invalid_header_char")


@pytest.mark.parametrize("content_type", ["thisisnotarealmimetype", "image/\tjpg", "a/b/c"])
def test_a_malformed_content_type_is_refused(bucket: Bucket, content_type: str) -> None:
    status, answer = raw_request(
        bucket.project,
        f"POST /storage/v1/object/{bucket.name}/a.txt",
        b"x",
        **{"Content-Type": content_type},
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


def test_a_buckets_limits_hold_for_forms_raw_bodies_and_streams(bucket: Bucket) -> None:
    bucket.project.clients["admin"].storage.update_bucket(
        bucket.name, {"file_size_limit": 1000, "allowed_mime_types": ["text/plain", "image/*"]}
    )
    url = f"/object/{bucket.name}/a.txt"
    plain = {"content-type": "text/plain"}
    with bucket.project.http() as http:
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
        assert bucket.rows() == []
        assert http.post(url, content=b"x" * 1000, headers=plain).status_code == 200
        image = http.post(f"{url}.png", content=b"x", headers={"content-type": "image/png"})
        assert image.status_code == 200
        folder = http.post(f"/object/{bucket.name}/new/.emptyFolderPlaceholder", content=b"")
        assert folder.status_code == 200, "exempt from the bucket's types"
        filled = http.post(f"/object/{bucket.name}/n2/.emptyFolderPlaceholder", content=b"x")
        assert filled.json() == TOO_LARGE


@pytest.fixture
def small_server(storage_project: Project, tmp_path: Path) -> Iterator[ApiServer]:
    server = start_test_api(
        storage_project.database, tmp_path, max_file_bytes=500, deliver_webhooks=False
    )
    try:
        yield server
    finally:
        server.stop()


def test_the_projects_limit_holds_and_nothing_secret_is_logged(
    bucket: Bucket, small_server: ApiServer, tmp_path: Path
) -> None:
    admin = client_for(small_server, None).storage.from_(bucket.name)
    with pytest.raises(Exception, match="The object exceeded the maximum allowed size"):
        admin.upload("a", b"x" * 501)
    admin.upload("a", b"x" * 500)
    admin.upload(mine("b"), b"x")
    token = admin.create_signed_upload_url("c")["token"]
    admin.upload_to_signed_url("c", token, b"x")
    (small_server.settings.storage.data_dir / "versions").rename(tmp_path / "gone")
    with pytest.raises(Exception, match="Internal Server Error"):
        admin.download("a")
    small_server.stop()
    log = (tmp_path / "api.log").read_text()
    assert "object_bytes_missing" in log
    for secret in (SECRET_KEY, small_server.settings.keys.jwt_secret, token):
        assert secret not in log
        assert secret not in repr(small_server)
    assert small_server.settings.storage.database_url not in repr(small_server)
