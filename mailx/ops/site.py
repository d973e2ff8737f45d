"""The HTTP site of the server's own ports (health, admin): no access log, no tracebacks, no form parsing, small bodies."""

from io import BytesIO
from typing import Any

from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from mailx.core.backpressure import PressedChannel

BODY_LIMIT = 1 << 20  # octets


class _Request(Request):
    """A request whose body stays in memory, where Twisted would put one of any size into a file that anybody may fill.

    It ends one octet beyond ``BODY_LIMIT``; what follows is thrown away.
    """

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        assert self.content is not None
        room = BODY_LIMIT + 1 - self.content.tell()
        self.content.write(data[:room])


class InternalSite(Site):
    """Who asks is not logged; what a request changes, the part that changes it logs by itself."""

    noisy = False
    displayTracebacks = False
    protocol = PressedChannel  # type: ignore[assignment]

    def __init__(self, resource: IResource) -> None:
        # The built-in parser of multipart forms would hold the event loop.
        super().__init__(resource, requestFactory=_Request, parsePOSTFormSubmission=False)  # type: ignore[no-untyped-call]

    def log(self, request: Any) -> None:
        """Say nothing."""
