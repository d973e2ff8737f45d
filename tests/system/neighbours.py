"""A server with the Internet around it, as far as a test needs it: name service, other people's servers, their certificates.

Every other server has a loopback address of its own and they all share one port, as those out there share port 25.
"""

import json
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.system.certificates import Authority
from tests.system.daemon import wait
from tests.system.names import Names
from tests.system.postfix import Postfix
from tests.system.server import Server, free_ports

HERE = "localhost.test"  # the domain of the server under test


class Neighbours(SynchronousTestCase):
    """A test that has neighbours; everything that it starts ends with it."""

    def setUp(self) -> None:
        directory = Path(mkdtemp(prefix="mailx-certificates-"))
        self.addCleanup(shutil.rmtree, directory)
        self.authority = Authority(directory)
        self.port = free_ports(1)[0]  # the "port 25" of everybody

    def names(self, zones: Mapping[str, str], signed: Collection[str] = ()) -> Names:
        """Name service with these zones."""
        names = Names(zones, signed)
        self.addCleanup(names.stop)
        names.start()
        return names

    def postfix(self, name: str, address: str, **options: Any) -> Postfix:
        """A Postfix on the port of everybody, with a certificate for ``name``."""
        server = Postfix(name, address, self.port, chain=self.authority.issue(name), **options)
        self.addCleanup(server.stop)
        server.start()
        return server

    def server(
        self,
        names: Names,
        settings: Mapping[str, str] | None = None,
        tables: str = "",
        trusting: bool = False,
        **options: Any,
    ) -> Server:
        """MailX that resolves by ``names`` and sends to its neighbours; ``trusting``: it knows the tests' authority."""
        every = {
            "dns.servers": f'["127.0.0.1:{names.resolver}"]',
            "outbound.port": str(self.port),
            "outbound.loopback": "true",
            "queue.retry": '["1s", "1s", "2s", "1h"]',
            **(settings or {}),
        }
        server = Server(self, every, tables, **options)
        if trusting:
            server.environ["SSL_CERT_FILE"] = str(self.authority.certificate)
        server.start()
        return server

    def wait_until(self, ready: Callable[[], bool], explain: Callable[[], str]) -> None:
        """Return once ``ready``; fails the test with the end of ``explain`` if that never comes."""
        wait(ready, lambda: explain()[-3000:])

    def wait_for_state(self, server: Server, state: str) -> dict[str, Any]:
        """The first recipient of the queue in ``state``, waited for."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = json.loads(server.ctl("queue", "list", "--state", state, "--json"))["entries"]
            return bool(found)

        self.wait_until(look, server.log)
        return found[0]
