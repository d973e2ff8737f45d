"""What delivery codes mean to the person who sent a message: what happened, and what can be done about it.

The codes are those of RFC 3463 and its registry. Pure; an unknown code gets the words for its kind.
"""

from attrs import frozen


@frozen
class Advice:
    """Two texts of whole sentences."""

    meaning: str
    remedy: str


_ADDRESS = Advice(
    "There is no such mailbox.",
    "Check the address for typing errors. If it looks right, ask the recipient in another way whether it has changed.",
)
_DOMAIN = Advice(
    "The domain of this address does not exist or takes no mail.",
    "Check the part of the address behind the @ for typing errors.",
)
_FULL = Advice("The recipient's mailbox is full.", "Try again later, or tell the recipient in another way.")
_DISABLED = Advice("The mailbox exists but takes no mail now.", "Ask the recipient in another way for an address that works.")
_LARGE = Advice("The message is too large for the recipient's server.", "Send less at once, or put large files where they can be fetched.")
_UNREACHED = Advice(
    "The recipient's mail server could not be reached.",
    "Its trouble may pass: send the message again later. If it stays so, the recipient's provider can tell more.",
)
_GIVEN_UP = Advice(
    "The message was given up before the recipient's server had taken it.",
    "Send it again later, or ask the administrator of your mail why.",
)
_POLICY = Advice(
    "The recipient's server refused the message because of its rules.",
    "Read what it said. If you cannot tell why, show this report to the administrator of your mail, or ask the recipient's provider.",
)
_UNTRUSTED = Advice(
    "The recipient's server could not verify that this message comes from where it says.",
    "Send it through the mail server of your own domain. If you did, show this report to the administrator of your mail.",
)
_SECURITY = Advice(
    "The message was not sent because the way to the recipient's server is not secure enough.",
    "Show this report to the administrator of your mail, or tell the recipient's provider.",
)
_LOOP = Advice(
    "The message went round in circles between servers.",
    "Somebody's forwarding leads back to itself: tell the recipient's provider.",
)
_FORMAT = Advice(
    "The recipient's server cannot take a message of this form.",
    "Try a plainer message: without attachments of rare kinds, and with an address of plain letters.",
)
_LIST = Advice("You are not allowed to write to this address.", "Ask whoever keeps the address, or the list, to let you.")
_BUSY = Advice("The recipient's server had trouble of its own.", "Send the message again later.")
_FAILED = Advice("The recipient's server refused the message.", "Read what it said. If that does not help, ask the recipient's provider.")

# By subject and detail of RFC 3463, the longest match counts.
_CODES = {
    "1": _ADDRESS,
    "1.2": _DOMAIN,
    "1.7": _POLICY,
    "1.8": _POLICY,
    "1.10": _DOMAIN,
    "2": _DISABLED,
    "2.2": _FULL,
    "2.3": _LARGE,
    "2.4": _LIST,
    "3": _BUSY,
    "3.1": _FULL,
    "3.3": _FORMAT,
    "3.4": _LARGE,
    "4": _UNREACHED,
    "4.6": _LOOP,
    "4.7": _GIVEN_UP,
    "5": _FAILED,
    "5.3": Advice("The message has too many recipients.", "Send it to fewer at a time."),
    "6": _FORMAT,
    "7": _POLICY,
    "7.2": _LIST,
    "7.10": _SECURITY,
    "7.20": _UNTRUSTED,
    "7.21": _UNTRUSTED,
    "7.22": _UNTRUSTED,
    "7.23": _UNTRUSTED,
    "7.24": _UNTRUSTED,
    "7.26": _UNTRUSTED,
    "7.30": _SECURITY,
}


def advice(status: str) -> Advice:
    """What ``status`` (``"5.1.1"``) means for a message that failed."""
    _, _, code = status.partition(".")
    subject = code.partition(".")[0]
    return _CODES.get(code) or _CODES.get(subject) or _FAILED
