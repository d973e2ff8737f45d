"""Mail that programs and administrators have this server write: values become an envelope, ready for reception."""

from collections.abc import Sequence

from mailx.core.trace import received
from mailx.core.users import canonical_domain
from mailx.mail.address import Address
from mailx.mail.compose import Attachment, compose
from mailx.mail.envelope import WEBHOOK, Demands, Envelope, Origin, new_id
from mailx.mail.message import Message

AUTOMATIC = (("Auto-Submitted", "auto-generated"),)  # RFC 3834 5


def letter(
    hostname: str,
    client: str,
    port: int,
    sender: Address,
    to: Address,
    now: float,
    *,
    subject: str,
    sender_name: str = "",
    reply_to: Address | None = None,
    text: str = "",
    html: str = "",
    attachments: Sequence[Attachment] = (),
    fields: Sequence[tuple[str, str]] = (),
) -> Envelope:
    """A message as :func:`mailx.mail.compose.compose` makes it, asked for by ``client`` (an address) at ``port``. Raises ComposeError."""
    id = new_id()
    origin = Origin(WEBHOOK, id, client, port)
    to = _plain(to)
    reply_to = reply_to and _plain(reply_to)
    content = received(hostname, origin, id, sender, (to,), now) + compose(
        sender=sender,
        to=to,
        subject=subject,
        date=now,
        message_id=f"{id}{new_id()}@{sender.domain}",
        sender_name=sender_name,
        reply_to=reply_to,
        text=text,
        html=html,
        attachments=attachments,
        fields=fields,
    )
    utf8 = not (sender.ascii and to.ascii and (reply_to is None or reply_to.ascii))
    return Envelope(id, sender, (to,), Message(content, len(content), not content.isascii()), origin, demands=Demands(utf8=utf8))


def _plain(address: Address) -> Address:
    """``address`` in ASCII if only its domain is international: then it needs no SMTPUTF8."""
    if address.domain.isascii() or not address.local.isascii():
        return address
    return Address(address.local, canonical_domain(address.domain))
