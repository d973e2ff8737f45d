"""What is handed to :mod:`mailx.store.delivery`, and what it answers: values without a database."""

from collections.abc import Iterable, Sequence
from enum import Enum

from attrs import frozen

from mailx.store import calls, imports, transfers
from mailx.store.queue import Parcel, Settlement


class Problem(Enum):
    """Why a message did not get into a mailbox."""

    FULL = "full"  # its account's quota does not hold it
    GONE = "gone"  # the mailbox or its account no longer exists
    REPLACED = "replaced"  # the message that it was to replace no longer exists


@frozen
class Target:
    """One mailbox a message goes to."""

    account: int
    mailbox: bytes  # keyed hash of its name
    quota: int  # octets, for an account without one of its own; 0: unlimited
    flags: int = 0
    threads: tuple[bytes, ...] = ()  # keyed hashes, see Delivery
    must: bool = False  # it takes the message even over quota


@frozen
class Delivery:
    """One message, sealed, and where it goes.

    ``threads`` of each target are that account's keyed hashes of the message's own id, then of those it answers, the
    most telling first; without an own id the first is empty.
    """

    guid: bytes  # 16 random octets
    size: int  # octets of the content
    summary: bytes  # sealed
    content: bytes | None  # sealed; None: it lies in ``file``
    file: str | None  # name of a durable blob file
    received: int  # INTERNALDATE, seconds since 1970
    saved: int  # SAVEDATE
    targets: tuple[Target, ...]
    parcel: Parcel | None = None  # its recipients on other servers
    waiting: bool = False  # sealed for its only target's owner, who gets an entry of it when the account's key is next open
    vault: bool = False  # sealed under the key of its only target's account


@frozen
class Consignment:
    """Deliveries that stand or fall together.

    With ``each`` every target gets its own verdict; one that is full is served all the same where the recipient reaches
    another one that has room (``together``), for the sender hears of it as accepted. Without, nothing is placed if any mailbox is gone,
    or if some message fits none of its targets; full targets beside one that has room, or beside a parcel, are served all the
    same. With ``forms`` the deliveries are one message in several forms (sealed for some, not for others): what stands beside
    a target then is what stands beside it in any of them.
    ``settling`` is what came of an attempt that the message reports: it is written if and only if the message is placed,
    and nothing is placed where it holds for no row any more, for then somebody else has decided, or told already.
    ``journal`` has an entry for each delivery of an import: they enter if and only if the messages are placed, and nothing is
    placed where one of them has come already.
    ``opens`` is the row of the message that waited for its owner and is placed now: it is removed, or nothing is placed if it is gone.
    ``call`` is the record of the call that asks for the message: it enters if and only if the message is placed, and nothing
    is placed where it repeats one that has entered.
    ``transfer`` is the record of what another MailX server delivers: it enters for those recipients for whom the message is placed,
    and nothing is placed where one of them has it from an earlier transfer of the same name.
    """

    deliveries: tuple[Delivery, ...]
    each: bool = False
    settling: Settlement | None = None
    call: calls.Call | None = None
    forms: bool = False
    together: tuple[tuple[int, ...], ...] = ()  # places among all targets, in order, that one recipient reaches where it reaches several
    transfer: transfers.Record | None = None
    journal: imports.Journal | None = None
    opens: int = 0
    replaces: tuple[int, int] | None = None  # mailbox and UID of the message that goes when these come, or nothing is placed
    guest: tuple[int, tuple[tuple[int, str], ...]] | None = None  # who brings it to another's mailbox, and what rights that takes


@frozen
class Placed:
    """One entry made. ``used`` is what is charged to the account after it, in octets."""

    account: int
    mailbox: int
    uidvalidity: int
    uid: int
    used: int


Outcome = Placed | Problem


class Outcomes(list["Outcome | None"]):
    """What became of each target of a delivery, in their order.

    ``rows`` are the ids of its parcel's rows in the queue; none if it was not placed. ``call`` is the record that its call
    has now: the new one, or the one of an earlier call that it repeats; None if it was not placed. ``met``: it was not
    placed, for an earlier transfer of the same name has reached one of its recipients, or an import has brought it before.
    """

    __slots__ = ("call", "met", "rows")

    def __init__(self, outcomes: Iterable["Outcome | None"]) -> None:
        super().__init__(outcomes)
        self.rows: Sequence[int] = ()
        self.call: calls.Call | None = None
        self.met = False
