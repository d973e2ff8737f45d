"""Web servers on 127.0.0.1, for what fetches and posts over real connections."""

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.outbound.servers import Issued, root

reactor: Any = _reactor


class _Page(Resource):
    isLeaf = True

    def __init__(self, serve: Callable[[Any], Any]) -> None:
        super().__init__()
        self._serve = serve

    def render_GET(self, request: Any) -> Any:
        return self._serve(request)

    render_POST = render_GET


async def site(case: TestCase, serve: Callable[[Any], Any] | Factory, certificate: Issued | None = None) -> int:
    """The port of a server that answers every request by ``serve``, or speaks as that factory; by TLS with a ``certificate``."""
    factory: Any = serve if isinstance(serve, Factory) else Site(_Page(serve))
    factory.noisy = False
    endpoint: Any = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    if certificate is not None:
        endpoint = SSL4ServerEndpoint(reactor, 0, certificate.options(), interface="127.0.0.1")
    listening = await endpoint.listen(factory)
    case.addCleanup(listening.stopListening)
    return int(listening.getHost().port)


def trust() -> Any:
    """The authority of tests, and no other."""
    return trustRootFromCertificates([Certificate.loadPEM(root().pem)])
