"""A connection whose other end takes nothing of what is written until the test says so."""

from typing import Any

from twisted.internet.testing import StringTransport


class Behind:
    """Tells whoever writes to ``said`` that it writes faster than is read, as real transports do."""

    LIMIT = 65536

    def __init__(self, said: StringTransport) -> None:
        self.said = said
        self.behind = False
        self._write = said.write
        said.write = self.write  # type: ignore[method-assign]
        said.writeSequence = lambda data: self.write(b"".join(data))  # type: ignore[method-assign,assignment]

    @property
    def _writer(self) -> Any:
        return self.said.producer

    def write(self, data: bytes) -> None:
        self._write(data)
        if len(self.said.value()) > self.LIMIT and not self.behind:
            self.behind = True
            self._writer.pauseProducing()

    def read(self) -> bytes:
        """Take all that was written."""
        taken = self.said.value()
        self.said.clear()
        self.behind = False
        self._writer.resumeProducing()
        return taken
