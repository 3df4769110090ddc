"""Answers of the API when the database is broken or docmill has an error."""

import json
from collections.abc import Callable

import psycopg
import pytest
from psycopg_pool import PoolTimeout
from starlette.responses import Response

from docmill.embedded.auth import errors as auth
from docmill.embedded.rest import errors as rest

SECRET = "host=127.0.0.1 password=canary"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (PoolTimeout(SECRET), 504, "PGRST003"),
        (psycopg.OperationalError(SECRET), 503, "PGRST001"),
        (psycopg.InterfaceError(SECRET), 503, "PGRST001"),
        (psycopg.DataError(SECRET), 400, "22021"),
    ],
)
def test_what_no_server_said_is_told_without_its_text(
    error: psycopg.Error, status: int, code: str
) -> None:
    response = rest.from_database(error, anonymous=True).response()
    assert (response.status_code, json.loads(bytes(response.body))["code"]) == (status, code)
    assert b"canary" not in bytes(response.body)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (
            rest.answer,
            {
                "code": "PGRSTX00",
                "message": "Internal Server Error",
                "details": None,
                "hint": None,
            },
        ),
        (
            auth.answer,
            {
                "code": "unexpected_failure",
                "message": "Unexpected failure, please check server logs for more information",
            },
        ),
    ],
)
def test_a_fault_of_ours_is_told_to_nobody(
    answer: Callable[[Exception], Response], body: dict[str, object]
) -> None:
    response = answer(ValueError(SECRET))
    assert (response.status_code, json.loads(bytes(response.body))) == (500, body)


def test_auth_tells_a_database_that_does_not_answer() -> None:
    response = auth.answer(PoolTimeout(SECRET))
    assert (response.status_code, json.loads(bytes(response.body))["code"]) == (
        504,
        "request_timeout",
    )
    assert auth.answer(psycopg.OperationalError(SECRET)).status_code == 500
