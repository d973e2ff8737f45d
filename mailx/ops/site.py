"""The HTTP site of the server's own ports (health, admin): no access log, no tracebacks, no form parsing."""

from typing import Any

from twisted.web.resource import IResource
from twisted.web.server import Site


class InternalSite(Site):
    """Who asks is not logged; what a request changes, the part that changes it logs by itself."""

    noisy = False
    displayTracebacks = False

    def __init__(self, resource: IResource) -> None:
        # The built-in parser of multipart forms would hold the event loop.
        super().__init__(resource, parsePOSTFormSubmission=False)  # type: ignore[no-untyped-call]

    def log(self, request: Any) -> None:
        """Say nothing."""
