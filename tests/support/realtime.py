"""A project's address with Realtime: Postgres Changes as Supabase sends them.

It uses version 2.0.0 of Phoenix's protocol, like supabase-js 2.109 and Realtime of 2026. Rows come
from a trigger instead of the log. For each change and subscriber it asks the database who may see
the row, like Realtime. All other requests are forwarded to the stack.
"""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import psycopg
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from docmill.embedded.process import free_port
from docmill.embedded.stack import StackInfo

_CHANGES = """
    create schema realtime_fake;
    create function realtime_fake.notify() returns trigger
    language plpgsql security definer set search_path = pg_catalog as $$
    begin
        perform pg_notify('realtime_fake', json_build_object(
            'type', tg_op, 'schema', tg_table_schema, 'table', tg_table_name,
            'record', row_to_json(new),
            'old_record', case when tg_op = 'UPDATE' then json_build_object('id', old.id) end
        )::text);
        return null;
    end $$;
    create trigger realtime_fake after insert or update on ingest.jobs
        for each row execute function realtime_fake.notify()
"""
_MAY_SEE = "select true from ingest.jobs where id = %s"


@dataclass
class _Subscription:
    socket: WebSocket
    join_ref: str
    topic: str
    claims: dict[str, Any]
    wanted: list[dict[str, Any]]

    async def send(self, event: str, payload: dict[str, Any], ref: str | None = None) -> None:
        await self.socket.send_text(json.dumps([self.join_ref, ref, self.topic, event, payload]))

    def matching(self, change: dict[str, Any]) -> list[int]:
        return [one["id"] for one in self.wanted if _matches(one, change)]


def _matches(wanted: dict[str, Any], change: dict[str, Any]) -> bool:
    column, _, value = wanted.get("filter", "").partition("=eq.")
    return (
        wanted["event"] in ("*", change["type"])
        and (wanted["schema"], wanted["table"]) == (change["schema"], change["table"])
        and (not column or str(change["record"][column]) == value)
    )


@dataclass
class FakeRealtime:
    """A running server; `log` lists the events in order."""

    stack: StackInfo
    port: int = field(default_factory=free_port)
    log: list[str] = field(default_factory=list)
    #: Tests hold back the first messages of a subscription.
    gate: threading.Event = field(default_factory=threading.Event)
    #: Tests hold back reads of jobs.
    reading: threading.Event = field(default_factory=threading.Event)
    mute: bool = False
    #: Rows as the changes so far left them, whoever was told.
    passed: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()
        self.reading.set()
        self._subscriptions: list[_Subscription] = []
        self._http = httpx.AsyncClient(base_url=self.stack.api_url, timeout=180)

    @property
    def url(self) -> str:
        """The value of SUPABASE_URL."""
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator["FakeRealtime"]:
        """Serve until the end of the block."""
        with psycopg.connect(_owner_url(self.stack), autocommit=True) as connection:
            connection.execute(_CHANGES.encode())
        routes = [
            WebSocketRoute("/realtime/v1/websocket", self._connected),
            Route("/{path:path}", self._pass_on, methods=["GET", "POST", "PUT", "DELETE"]),
        ]
        config = uvicorn.Config(Starlette(routes=routes), port=self.port, log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=asyncio.run, args=(self._serve(server),))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield self
        finally:
            server.should_exit = True
            thread.join()
            with psycopg.connect(_owner_url(self.stack), autocommit=True) as connection:
                connection.execute("drop schema realtime_fake cascade")

    async def _serve(self, server: uvicorn.Server) -> None:
        connection = await psycopg.AsyncConnection.connect(_owner_url(self.stack), autocommit=True)
        async with connection, self._http:
            await connection.execute("listen realtime_fake")
            following = asyncio.create_task(self._follow(connection))
            await server.serve()
            following.cancel()

    async def _pass_on(self, request: Request) -> Response:
        if request.url.path == "/rest/v1/jobs":
            self.log.append("asked")
            await asyncio.to_thread(self.reading.wait, 60)
        answer = await self._http.request(
            request.method,
            request.url.path,
            params=request.query_params,
            content=await request.body(),
            headers=[(name, value) for name, value in request.headers.items() if name != "host"],
        )
        return Response(
            answer.content,
            answer.status_code,
            {
                name: value
                for name, value in answer.headers.items()
                if name not in ("content-length", "content-encoding", "transfer-encoding")
            },
        )

    # -- subscribers

    async def _connected(self, socket: WebSocket) -> None:
        key = socket.query_params.get("apikey")
        if key != self.stack.keys.publishable_key or socket.query_params.get("vsn") != "2.0.0":
            await socket.close()
            return
        await socket.accept()
        try:
            while True:
                await self._received(socket, *json.loads(await socket.receive_text()))
        except WebSocketDisconnect:
            self._forget(socket)

    async def _received(
        self,
        socket: WebSocket,
        join_ref: str,
        ref: str,
        topic: str,
        event: str,
        payload: dict[str, Any],
    ) -> None:
        async def reply(response: dict[str, Any], status: str = "ok") -> None:
            body = {"status": status, "response": response}
            await socket.send_text(json.dumps([join_ref, ref, topic, "phx_reply", body]))

        if event == "phx_join":
            await self._join(socket, join_ref, topic, payload, reply)
        elif event == "phx_leave":
            self._forget(socket, topic)
            await reply({})
            await socket.send_text(json.dumps([join_ref, ref, topic, "phx_close", {}]))
        elif event == "heartbeat":
            await reply({})

    async def _join(
        self, socket: WebSocket, join_ref: str, topic: str, payload: dict[str, Any], reply: Any
    ) -> None:
        try:
            claims = jwt.decode(
                payload.get("access_token", ""),
                self.stack.keys.jwt_secret,
                ["HS256"],
                audience="authenticated",
            )
        except jwt.PyJWTError:
            await reply({"reason": "InvalidJWTToken"}, "error")
            return
        wanted = [
            {**one, "id": number + 1}
            for number, one in enumerate(payload["config"]["postgres_changes"])
        ]
        await reply({"postgres_changes": wanted})
        self.log.append("joined")
        # The answer comes first; changes of the table follow later.
        await asyncio.to_thread(self.gate.wait, 60)
        subscription = _Subscription(socket, join_ref, topic, claims, wanted)
        self._subscriptions.append(subscription)
        self.log.append("subscribed")
        await subscription.send(
            "system",
            {
                "extension": "postgres_changes",
                "status": "ok",
                "message": "Subscribed to PostgreSQL",
                "channel": topic.removeprefix("realtime:"),
            },
        )

    def _forget(self, socket: WebSocket, topic: str | None = None) -> None:
        for one in list(self._subscriptions):
            if one.socket is socket and topic in (None, one.topic):
                self._subscriptions.remove(one)
                self.log.append("left")

    # -- changes

    async def _follow(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        async for notice in connection.notifies():
            change = json.loads(notice.payload)
            self.passed.append(change["record"])
            for one in list(self._subscriptions):
                ids = one.matching(change)
                if not ids or self.mute:
                    continue
                if not await self._may_see(one.claims, change["record"]["id"]):
                    self.log.append("withheld")
                    continue
                self.log.append("sent")
                await one.send("postgres_changes", {"ids": ids, "data": _as_sent(change)})

    async def _may_see(self, claims: dict[str, Any], job_id: str) -> bool:
        url = self.stack.database_url("authenticator")
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute(
                "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
                [claims["role"], json.dumps(claims)],
            )
            cursor = await connection.execute(_MAY_SEE, [job_id])
            return await cursor.fetchone() is not None


def _as_sent(change: dict[str, Any]) -> dict[str, Any]:
    types = {bool: "bool", int: "int4", float: "numeric"}
    return {
        **change,
        "columns": [
            {"name": name, "type": types.get(type(value), "text")}
            for name, value in change["record"].items()
        ],
        "commit_timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "errors": None,
    }


def _owner_url(stack: StackInfo) -> str:
    return stack.database_url("postgres")
