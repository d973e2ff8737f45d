"""COMPRESS (RFC 4978): the rest of the session is DEFLATE in both directions.

Only after a login, so that no password is ever compressed beside what a stranger chose. The OK goes out as it is; what the
client sent behind its command without waiting for that is taken as compressed, as it must be.
"""

from mailx.imap.answers import Bad, tagged
from mailx.imap.arrival import Command
from mailx.imap.session import Session
from mailx.imap.tokens import Tokens


def mechanism(tokens: Tokens) -> bytes:
    """compress = "COMPRESS" SP algorithm."""
    tokens.space()
    name = tokens.keyword()
    tokens.end()
    return name


async def compress(session: Session, command: Command, name: bytes) -> None:
    if name != b"DEFLATE":
        raise Bad(b"Compression algorithm not supported")
    if session.peer.compressed:
        raise Bad(b"Compression is active already", b"COMPRESSIONACTIVE")
    session.peer.write(tagged(command.tag, b"OK", b"DEFLATE active"))
    session.peer.start_compression()
