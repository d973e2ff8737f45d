"""A request and its answer as values, without Twisted: what pages and APIs are given, and what they give back."""

from collections.abc import AsyncIterator, Mapping

from attrs import Factory, frozen


@frozen
class Asked:
    """One request whose body has arrived whole. Names of ``headers`` are in lower case; all texts are as the client sent them."""

    method: str
    path: str  # decoded, begins with "/"
    query: Mapping[str, str]  # the last of several values
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    body: bytes
    address: str  # of the client: behind a trusted proxy the one that the proxy tells
    secure: bool  # by TLS, here or at a trusted proxy
    host: str = ""  # without the port
    proxied: bool = False  # it came by a trusted proxy

    def header(self, name: str) -> str:
        """The header ``name`` (lower case); "" when there is none."""
        return self.headers.get(name, "")


@frozen
class Answer:
    """What goes back. A body that is made bit by bit is sent as fast as the client takes it."""

    status: int
    body: "bytes | AsyncIterator[bytes]" = b""
    headers: Mapping[str, str] = Factory(dict)
    cookies: tuple[str, ...] = ()  # whole Set-Cookie values
