"""A pooler without Postgres: it accepts logins and fails every query, like PgBouncer.

PgBouncer 1.18 and later answers a login from its cache. A query that no server can take gets FATAL
08P01 (protocol violation) and `server login has been failing`.
"""

import socket
import struct
import threading
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
                self._log_in(connection)
                kind = connection.recv(1)
                if kind not in (b"", b"X"):  # the end, or a terminate
                    self.queries += 1
                    fields = b"SFATAL\0VFATAL\0C08P01\0Mserver login has been failing\0\0"
                    connection.sendall(_message(b"E", fields))
            except (OSError, struct.error):
                return

    def _log_in(self, connection: socket.socket) -> None:
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


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("!i", len(content) + 4) + content


def _exactly(connection: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        block = connection.recv(count - len(received))
        if not block:
            raise ConnectionResetError
        received += block
    return received
