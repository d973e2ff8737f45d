"""The queue: mail to other servers, from its acceptance until each recipient is served or given up.

This first version fixes what reception works with.
"""

from collections.abc import Sequence

from attrs import define

from mailx.mail.envelope import Envelope
from mailx.store.queue import Parcel


@define(eq=False)
class Planned:
    """What ``Queue.plan`` decided; ``parcel`` goes into the delivery, the whole back to ``placed`` or ``dropped``."""

    envelope: Envelope
    parcel: Parcel
