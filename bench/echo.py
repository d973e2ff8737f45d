"""A bare Perspective Broker echo over TLS 1.3 between two processes: the floor under federation, of the same octets.

``python -m bench.echo PORT CHAIN`` is the server; ``rate`` calls it, with so many calls under way.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet import ssl
from twisted.internet.defer import Deferred, gatherResults
from twisted.spread import pb

from bench.servers import free_port, wait_for_port

AT_ONCE = 16
reactor: Any = _reactor


class Echo(pb.Root):
    """Gives back what it is given."""

    def remote_echo(self, data: bytes) -> bytes:
        return data


class Server:
    """The echo in a process of its own."""

    def __init__(self, chain: Path) -> None:
        self.port = free_port()
        self._process = subprocess.Popen([sys.executable, "-m", "bench.echo", "serve", str(self.port), str(chain)])
        wait_for_port(self.port, process=self._process)

    def rate(self, octets: int, count: int) -> float:
        """Calls of ``octets`` octets a second, made by another process."""
        command = [sys.executable, "-m", "bench.echo", "call", str(self.port), str(octets), str(count)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


async def _call(root: Any, data: bytes, count: int) -> float:
    left = iter(range(count))

    async def calls() -> None:
        for _ in left:
            await root.callRemote("echo", data)

    began = time.monotonic()
    await gatherResults([Deferred.fromCoroutine(calls()) for _ in range(AT_ONCE)])
    return count / (time.monotonic() - began)


async def _measure(port: int, octets: int, count: int) -> None:
    factory = pb.PBClientFactory()
    options = ssl.CertificateOptions(raiseMinimumTo=ssl.TLSVersion.TLSv1_3)
    reactor.connectSSL("127.0.0.1", port, factory, options)
    root = await factory.getRootObject()
    data = b"x" * octets
    await _call(root, data, count // 10 + 1)
    print(await _call(root, data, count), flush=True)
    reactor.stop()


def main(arguments: Sequence[str]) -> None:
    what, port, *rest = arguments
    if what == "serve":
        text = Path(rest[0]).read_bytes()
        certificate = ssl.PrivateCertificate.loadPEM(text)
        options = certificate.options()
        reactor.listenSSL(int(port), pb.PBServerFactory(Echo()), options, interface="127.0.0.1")
    else:
        reactor.callWhenRunning(lambda: Deferred.fromCoroutine(_measure(int(port), int(rest[0]), int(rest[1]))))
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
