"""One message's patience with DNS: whatever its checks ask, together they ask so much and wait so long, and no longer.

Behind the deadline, and behind the last question, every question that the cache does not answer fails at once like one that
nobody answers: checks then come to their end by themselves, and say temperror.
"""

from typing import Any, Protocol

from twisted.internet.defer import Deferred, TimeoutError

from mailx.core.resolver import Answer, DNSFailure

QUESTIONS = 300  # of one message


class Names(Protocol):
    """Whoever answers for DNS: the resolver, or one message's share of it."""

    async def query(self, name: str, kind: str) -> Answer:
        """The records of type ``kind`` at ``name``; raises DNSFailure."""


class Patient:
    """``resolver`` as one message sees it until ``deadline``, which is in the reactor's seconds."""

    def __init__(self, resolver: Names, deadline: float, reactor: Any) -> None:
        self.deadline = deadline
        self._resolver = resolver
        self._clock = reactor
        self._left = QUESTIONS

    def longer(self, deadline: float) -> "Patient":
        """The same message's patience with what comes next: the questions that are left, until ``deadline``."""
        other = Patient(self._resolver, deadline, self._clock)
        other._left = self._left
        return other

    async def query(self, name: str, kind: str) -> Answer:
        """As of the resolver; raises DNSFailure."""
        if self._left <= 0:
            raise DNSFailure("too many questions")
        self._left -= 1
        asked = Deferred.fromCoroutine(self._resolver.query(name, kind))
        if not asked.called:
            asked.addTimeout(max(0.0, self.deadline - self._clock.seconds()), self._clock)
        try:
            return await asked
        except TimeoutError:
            raise DNSFailure("no time left") from None
