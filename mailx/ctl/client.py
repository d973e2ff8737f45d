"""Ways to the admin API. This one: HTTP over the Unix socket of a running server."""

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

TIMEOUT = 300.0  # seconds; deleting a large account takes a while


class NoServer(Exception):
    """Nobody answers on the socket."""


class Client(Protocol):
    """One way to the admin API."""

    def open(self) -> None:
        """Make ready; what it raises is its own."""

    def call(self, method: str, path: str, parameters: Mapping[str, str], body: Any) -> tuple[int, Any]:
        """The HTTP status and the JSON of one request. ``path`` is quoted."""

    def stream(self, method: str, path: str, parameters: Mapping[str, str], body: Any) -> tuple[int, Any]:
        """The same where the answer is no JSON: with status 200 something to read octets from (``read(size)``) till their end.

        Reading raises EOFError where the answer breaks off.
        """

    def close(self) -> None: ...


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        """Connect; raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Octets:
    """The octets of an answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response

    def read(self, size: int) -> bytes:
        """At most ``size`` octets; none at the end. Raises EOFError."""
        try:
            return self._response.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise EOFError from error


class SocketClient:
    """The API of the server that listens on the Unix socket ``path``."""

    def __init__(self, path: str) -> None:
        self._connection = _Connection(path)

    def open(self) -> None:
        """Connect; raises NoServer or PermissionError."""
        try:
            self._connection.connect()
        except PermissionError:
            raise
        except OSError as error:
            raise NoServer from error

    def call(self, method: str, path: str, parameters: Mapping[str, str], body: Any) -> tuple[int, Any]:
        """The HTTP status and the JSON of one request."""
        target = f"{path}?{urlencode(parameters)}" if parameters else path
        try:
            self._connection.request(method, target, None if body is None else json.dumps(body))
            response = self._connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            remedy = "Look whether it still runs; what was asked for may have been done."
            return 502, {"error": {"code": "no_answer", "message": "The server did not answer.", "remedy": remedy}}

    def stream(self, method: str, path: str, parameters: Mapping[str, str], body: Any) -> tuple[int, Any]:
        """The HTTP status and the octets of one request."""
        target = f"{path}?{urlencode(parameters)}" if parameters else path
        try:
            self._connection.request(method, target, None if body is None else json.dumps(body))
            response = self._connection.getresponse()
            return response.status, _Octets(response) if response.status == 200 else json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            remedy = "Look whether it still runs."
            return 502, {"error": {"code": "no_answer", "message": "The server did not answer.", "remedy": remedy}}

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()
