"""Calling functions: how arguments arrive and what comes back."""

from typing import Any

import pytest
from postgrest import APIError

from tests.contract.rest.conftest import DataApi


def call(api: DataApi, name: str, **arguments: Any) -> Any:
    return api.anon.rpc(f"docmill_test_{name}", arguments).execute().data


def test_each_kind_of_result_has_its_form(api: DataApi) -> None:
    assert call(api, "add", a=1, b=2) == 3
    assert call(api, "numbers", up_to=3) == [1, 2, 3]
    assert call(api, "numbers", up_to=0) == []
    pair = {"number": 1, "text": "n1"}
    assert call(api, "pairs", up_to=1) == [pair]
    assert call(api, "thing", which=3)["name"] == "thing 3"
    assert call(api, "echo", value={"a": [1, None]}) == {"a": [1, None]}
    nothing = api.post("/rpc/nothing")
    assert (nothing.status_code, nothing.content) == (204, b"")


def test_defaults_apply_to_what_is_not_given(api: DataApi) -> None:
    assert call(api, "add", a=1) == 11
    assert api.post("/rpc/add", json={"a": None, "b": 1}).json() is None


def test_arguments_take_the_type_of_their_parameter(api: DataApi) -> None:
    assert call(api, "add", a="5", b=1) == 6
    response = api.post("/rpc/add", json={"a": "five"})
    assert (response.status_code, response.json()["code"]) == (400, "22P02")


def test_filters_order_and_limit_apply_to_a_result(api: DataApi) -> None:
    rows = api.anon.rpc("docmill_test_pairs", {"up_to": 9}).gt("number", 3)
    assert [row["number"] for row in rows.order("number", desc=True).limit(2).execute().data] == [
        *(9, 8)
    ]
    response = api.post(
        "/rpc/pairs?select=text&number=in.(2,4)&order=number.desc&limit=1",
        json={"up_to": 9},
        Prefer="count=exact",
    )
    assert response.json() == [{"text": "n4"}]
    assert (response.status_code, response.headers["content-range"]) == (206, "0-0/2")


def test_one_object_of_a_result(api: DataApi) -> None:
    def pairs(up_to: int) -> Any:
        return api.anon.rpc("docmill_test_pairs", {"up_to": up_to}).single().execute()

    assert pairs(1).data == {"number": 1, "text": "n1"}
    with pytest.raises(APIError, match="PGRST116"):
        pairs(2)
    accept = "application/vnd.pgrst.object+json"
    single = api.post("/rpc/add", json={"a": 1}, Accept=accept)
    assert single.json() == 11
    assert single.headers["content-type"] == f"{accept}; charset=utf-8"
