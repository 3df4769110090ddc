"""A pooler whose Postgres may be away: then it takes logins and fails queries, like PgBouncer.

PgBouncer 1.18 and later answers a login from its cache. A query that no server can take gets FATAL
08P01 (protocol violation) and `server login has been failing`. When a server dies, clients that
wait for an answer get FATAL 08P01 too; the others notice at their next query.
"""

import selectors
import socket
import struct
import threading
from contextlib import suppress
from typing import Final, Self

_SSL_REQUEST: Final = 80_877_103
_GSS_REQUEST: Final = 80_877_104


class PoolerOfNothing:
    """Listens on loopback while it is entered."""

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.queries = 0
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                log_in(connection)
                kind = connection.recv(1)
                if kind not in (b"", b"X"):  # the end, or a terminate
                    self.queries += 1
                    connection.sendall(NO_SERVER)
            except (OSError, struct.error):
                return


class Pooler:
    """Passes connections on to a server of this machine; `cut` takes the server away."""

    def __init__(self, port: int) -> None:
        """`port` is the server's."""
        self._server_port = port
        self._lock = threading.Lock()
        self._is_cut = False
        self._servers: set[socket.socket] = set()
        self.refused = 0  #: queries that got no server

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening, and end all connections."""
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """From here on there is no server, also for connections that had one."""
        with self._lock:
            self._is_cut = True
            servers, self._servers = self._servers, set()
        for server in servers:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        """New connections get a server again."""
        with self._lock:
            self._is_cut = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError, struct.error):
            server = self._server()
            if server is None:
                log_in(client)
                self._refuse(client, client.recv(1))
            else:
                self._pass_on(client, server)

    def _server(self) -> socket.socket | None:
        with self._lock:
            if self._is_cut:
                return None
            server = socket.create_connection(("127.0.0.1", self._server_port))
            self._servers.add(server)
            return server

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        is_asking = False
        with server, selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ)
            selector.register(server, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if server in ready:
                    block = server.recv(65_536)
                    if not block:
                        break
                    client.sendall(block)
                    is_asking = False
                if client in ready:
                    block = client.recv(65_536)
                    if not block:
                        return
                    with suppress(OSError):
                        server.sendall(block)
                    is_asking = True
        self._refuse(client, b"Q" if is_asking else client.recv(1))

    def _refuse(self, client: socket.socket, kind: bytes) -> None:
        if kind not in (b"", b"X"):  # the end, or a terminate
            self.refused += 1
            client.sendall(NO_SERVER)


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("!i", len(content) + 4) + content


def log_in(connection: socket.socket) -> None:
    """Accept a login without asking anybody."""
    while True:
        length, code = struct.unpack("!ii", _exactly(connection, 8))
        if code not in (_SSL_REQUEST, _GSS_REQUEST):
            break
        connection.sendall(b"N")
    _exactly(connection, length - 8)
    parameters = b"".join(
        _message(b"S", f"{name}\0{value}\0".encode())
        for name, value in (
            *(("server_version", "16.0"), ("client_encoding", "UTF8")),
            *(("standard_conforming_strings", "on"), ("DateStyle", "ISO, MDY")),
        )
    )
    connection.sendall(
        _message(b"R", struct.pack("!i", 0))
        + parameters
        + _message(b"K", struct.pack("!ii", 1, 1))
        + _message(b"Z", b"I")
    )


NO_SERVER: Final = _message(b"E", b"SFATAL\0VFATAL\0C08P01\0Mserver login has been failing\0\0")


def _exactly(connection: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        block = connection.recv(count - len(received))
        if not block:
            raise ConnectionResetError
        received += block
    return received
