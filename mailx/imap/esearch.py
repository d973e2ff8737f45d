"""The ESEARCH response: the ends of what was found, all of it, a window on it, how many (RFC 4731, RFC 5267, RFC 9394)."""

from collections.abc import Callable, Iterable, Sequence

from mailx.imap import text
from mailx.imap.commands import Partial
from mailx.imap.search import Returns
from mailx.imap.sets import compact


def response(
    correlator: bytes, by_uid: bool, returns: Returns, numbers: Sequence[int], highest: int = 0, relevancies: Sequence[int] = ()
) -> bytes:
    """``numbers`` are in the order of the result; without any there is neither MIN, MAX nor ALL (RFC 4731 3.1).

    ``highest`` is what MODSEQ says, 0 for nothing; ``relevancies`` go with ``numbers`` if they were asked for.
    """
    parts = [b"* ESEARCH (%b)" % correlator]
    if by_uid:
        parts.append(b"UID")
    if numbers:
        if b"MIN" in returns.numbers:
            parts.append(b"MIN %d" % numbers[0])
        if b"MAX" in returns.numbers:
            parts.append(b"MAX %d" % numbers[-1])
        if b"ALL" in returns.numbers:
            parts.append(b"ALL " + compact(numbers))
    if returns.partial is not None:
        parts.append(b"PARTIAL (%b %b)" % (_range(returns.partial), compact(within(returns.partial, numbers)) or b"NIL"))
    if b"COUNT" in returns.numbers:
        parts.append(b"COUNT %d" % len(numbers))
    if highest:
        parts.append(b"MODSEQ %d" % highest)
    if returns.relevancy and relevancies:
        shown = relevancies if returns.partial is None else within(returns.partial, relevancies)
        parts.append(b"RELEVANCY (%b)" % b" ".join(map(b"%d".__mod__, shown)))
    return b" ".join(parts) + b"\r\n"


def tagged_by(tag: bytes) -> bytes:
    """The correlator of a response to the command ``tag``."""
    return b"TAG " + text.string(tag)


def plain(word: bytes, numbers: Iterable[bytes], highest: int) -> bytes:
    """A SEARCH or SORT response (RFC 7162 3.1.5); ``numbers`` as ``spelt`` has them."""
    modseq = b" (MODSEQ %d)" % highest if highest else b""
    return b"* %b%b%b\r\n" % (word, b"".join(numbers), modseq)


def spelt(numbers: Sequence[int]) -> bytes:
    """Each of ``numbers`` behind a blank."""
    return b" %d" * len(numbers) % tuple(numbers)


def within(partial: Partial, results: Sequence[int]) -> Sequence[int]:
    """What of ``results`` lies in the window, in their order."""
    first, last = partial.first, partial.last
    if partial.from_end:
        return results[max(0, len(results) - last) : max(0, len(results) - first + 1)]
    return results[first - 1 : last]


def single(returns: Returns, results: Sequence[int]) -> list[int]:
    """What of ``results`` MIN, MAX and PARTIAL return, rising, if each message comes but once."""
    found: set[int] = set()
    if results:
        found.update(results[:1] if b"MIN" in returns.numbers else ())
        found.update(results[-1:] if b"MAX" in returns.numbers else ())
        found.update(() if returns.partial is None else within(returns.partial, results))
    return sorted(found)


def kept(returns: Returns, results: Sequence[int]) -> Sequence[int]:
    """What SAVE keeps of ``results``, rising (RFC 5182 2.1, RFC 9394 3.2)."""
    return single(returns, results) if returns.ends_only else sorted(results)


def highest(returns: Returns | None, results: Sequence[int], of: Callable[[Sequence[int]], int]) -> int:
    """What MODSEQ says (RFC 7162 3.1.10): ``of`` what is returned if that is single messages, else of all."""
    return of(single(returns, results) if returns is not None and returns.ends_only else sorted(results))


def _range(partial: Partial) -> bytes:
    return (b"-%d:-%d" if partial.from_end else b"%d:%d") % (partial.first, partial.last)
