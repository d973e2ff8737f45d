"""OpenDKIM as somebody else's verifier: a milter for a Postfix, which adds what it thinks of the signatures."""

from tests.system.daemon import Daemon, listens
from tests.system.names import Names
from tests.system.server import free_ports


class OpenDKIM:
    """It looks keys up in ``names``; ``settings`` makes a Postfix ask it about every message."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._daemon = Daemon("opendkim")
        self._port = free_ports(1)[0]
        self.settings = {"smtpd_milters": f"inet:127.0.0.1:{self._port}", "milter_default_action": "tempfail"}

    def start(self) -> None:
        directory = self._daemon.directory
        (directory / "unbound.conf").write_text(self._names.stub_configuration(), encoding="ascii")
        # Whatever it thinks internal it would sign in place of verifying; all clients of the tests are on loopback.
        (directory / "internal").write_text("192.0.2.1\n", encoding="ascii")
        (directory / "opendkim.conf").write_text(
            f"Mode v\nSocket inet:{self._port}@127.0.0.1\nInternalHosts {directory}/internal\nPeerList {directory}/internal\n"
            f"ResolverConfiguration {directory}/unbound.conf\nAuthservID verifier.example\nAlwaysAddARHeader yes\nSyslog no\n"
            "On-Default accept\nOn-BadSignature accept\nBackground no\n",
            encoding="ascii",
        )
        self._daemon.start(["-f", "-x", "opendkim.conf"], lambda: listens("127.0.0.1", self._port))

    def stop(self) -> None:
        self._daemon.stop()
