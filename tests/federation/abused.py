"""A server and whoever abuses it: what tests of hostile peers stand on."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.federation.hostile import DIALECT, HELLO, TLS, Raw, connected, showing
from tests.federation.loopback import Loopback


class Abused(Loopback):
    """Domain keys as private keys, so that forgers have them."""

    def setUp(self) -> None:
        super().setUp()
        self.raws: list[Raw] = []

    def authority(self, side: Any, domain: str) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(bytes(side.keys[domain]._key))

    async def raw(self, tls: TLS | None) -> Raw:
        raw = await connected(self.reactor, self.port.getHost().port, tls)
        self.raws.append(raw)
        return raw

    def honest(self) -> TLS:
        return TLS(showing(self.here.certificates.of("here.example")))

    async def greeted(self, **more: Any) -> Raw:
        """A peer with a good certificate that has said hello."""
        raw = await self.raw(self.honest())
        raw.wire.write(DIALECT + HELLO)
        await raw.hear(3)
        self.assertEqual(raw.heard[2][:2], [b"answer", 1])
        return raw

    async def close(self) -> None:
        for raw in self.raws:
            if not raw.over:
                raw.wire.abortConnection()
                await raw.ended
        await super().close()
