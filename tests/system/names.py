"""Real name service on loopback: Knot DNS has the zones, Unbound resolves and validates; nothing is asked elsewhere.

A root zone without anything else in it belongs to every set of zones, so that a name outside them does not exist
instead of being looked for on the Internet.
"""

import subprocess
from collections.abc import Collection, Mapping

import dns.resolver

from tests.system.daemon import Daemon, listens
from tests.system.server import free_ports, program

_ROOT_ZONE = ". 0 SOA ns. root. 1 3600 600 86400 1\n. 0 NS ns.\nns. 0 A 127.0.0.1\n"

# Of these libunbound would answer by itself that they do not exist.
_NOTHING_BUILT_IN = '  local-zone: "127.in-addr.arpa." nodefault\n  local-zone: "test." nodefault\n'


class Names:
    """``zones`` maps a zone to its records without SOA and NS, in the words of a zone file; those of ``signed`` are signed.

    ``authority`` and ``resolver`` are their ports on 127.0.0.1; the resolver keeps nothing, so that a change shows at once.
    """

    def __init__(self, zones: Mapping[str, str], signed: Collection[str] = ()) -> None:
        self._zones = dict(zones)
        self._signed = frozenset(signed)
        self._serial = 1
        self.authority, self.resolver = free_ports(2)
        self._knot, self._unbound = Daemon("knotd"), Daemon("unbound")

    def start(self) -> None:
        """Raises AssertionError if one of them does not run."""
        self._write_zones()
        for folder in ("keys", "journal", "timers"):
            (self._knot.directory / folder).mkdir()
        (self._knot.directory / "knot.conf").write_text(self._knot_configuration(), encoding="ascii")
        anchors = "".join(f'  trust-anchor: "{self._make_key(zone)}"\n' for zone in sorted(self._signed))
        self._knot.start(["-c", "knot.conf"], lambda: "server started" in self._knot.output())
        (self._unbound.directory / "unbound.conf").write_text(self._unbound_configuration(anchors), encoding="ascii")
        self._unbound.start(["-d", "-c", "unbound.conf"], lambda: listens("127.0.0.1", self.resolver))

    def publish(self, zone: str, records: str) -> None:
        """Add ``records`` to ``zone``."""
        self._zones[zone] = f"{self._zones[zone]}\n{records}"
        self._serial += 1
        self._write_zones()
        self._control("-b", "zone-reload", zone)

    def withdraw(self, zone: str, records: str) -> None:
        """Let nothing but ``records`` be in ``zone``."""
        self._zones[zone] = ""
        self.publish(zone, records)

    def text(self, name: str) -> str:
        """The first TXT record of ``name``, its strings joined; empty if there is none."""
        try:
            answer = dns.resolver.Resolver(configure=False)
            answer.nameservers, answer.port = ["127.0.0.1"], self.resolver
            return b"".join(answer.resolve(name, "TXT")[0].strings).decode()
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return ""

    def stub_configuration(self) -> str:
        """Lines that make another program's libunbound ask the authority."""
        return self._stubs(f"server:\n  do-not-query-localhost: no\n{_NOTHING_BUILT_IN}")

    def stop(self) -> None:
        self._unbound.stop()
        self._knot.stop()

    def _write_zones(self) -> None:
        for zone, records in {".": "", **self._zones}.items():
            head = (
                _ROOT_ZONE
                if zone == "."
                else f"$ORIGIN {zone}.\n$TTL 0\n@ SOA ns hostmaster {self._serial} 3600 600 86400 0\n@ NS ns\nns A 127.0.0.1\n"
            )
            (self._knot.directory / f"zone-{zone}").write_text(f"{head}{records}\n", encoding="ascii")

    def _knot_configuration(self) -> str:
        directory = self._knot.directory
        signing = "    dnssec-signing: on\n    dnssec-policy: one-key\n"
        zones = "".join(
            f'  - domain: "{zone}"\n    file: "zone-{zone}"\n{signing if zone in self._signed else ""}' for zone in (".", *self._zones)
        )
        return (
            f'server:\n  rundir: "{directory}"\n  listen: 127.0.0.1@{self.authority}\n  background-workers: 1\n  udp-workers: 1\n'
            f'  tcp-workers: 1\ncontrol:\n  listen: "{directory}/knot.sock"\ndatabase:\n  storage: "{directory}"\n'
            f"policy:\n  - id: one-key\n    single-type-signing: on\n    cds-cdnskey-publish: none\n"
            f'template:\n  - id: default\n    storage: "{directory}"\n    zonefile-sync: -1\n    zonefile-load: difference-no-serial\n'
            f"    journal-content: all\nzone:\n{zones}"
        )

    def _unbound_configuration(self, anchors: str) -> str:
        directory = self._unbound.directory
        server = (
            f'server:\n  interface: 127.0.0.1@{self.resolver}\n  directory: "{directory}"\n  chroot: ""\n  username: ""\n  pidfile: ""\n'
            f"  use-syslog: no\n  do-daemonize: no\n  num-threads: 1\n  do-ip6: no\n  do-not-query-localhost: no\n  cache-max-ttl: 0\n"
            f'  cache-max-negative-ttl: 0\n  module-config: "validator iterator"\n  qname-minimisation: no\n{anchors}'
            f"{_NOTHING_BUILT_IN}remote-control:\n  control-enable: no\n"
        )
        return self._stubs(server)

    def _stubs(self, server: str) -> str:
        return server + "".join(f'stub-zone:\n  name: "{zone}"\n  stub-addr: 127.0.0.1@{self.authority}\n' for zone in (".", *self._zones))

    def _make_key(self, zone: str) -> str:
        """The DS record of a new key for ``zone``: what the resolver trusts."""
        configuration = str(self._knot.directory / "knot.conf")
        self._run("keymgr", "-c", configuration, zone, "generate", "algorithm=ECDSAP256SHA256", "ksk=yes", "zsk=yes")
        return self._run("keymgr", "-c", configuration, zone, "ds").splitlines()[0]

    def _control(self, *arguments: str) -> None:
        self._run("knotc", "-s", str(self._knot.directory / "knot.sock"), *arguments)

    @staticmethod
    def _run(name: str, *arguments: str) -> str:
        done = subprocess.run([program(name), *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"{name}: {done.stdout}{done.stderr}")
        return done.stdout
