"""Posting to URLs that others chose: callbacks and alerts, kept away from what only this machine and its neighbours may reach.

:mod:`mailx.core.urls` says where a URL may lead; networks that are not of the public Internet must be in
``webhook.callback_networks``. Redirects are not followed; time and size are bounded. Failure is :class:`NotPosted` in words
that tell nothing of the inside.
"""

import hmac
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.ssl import platformTrust

from mailx.core.http_exchange import Exchange, Failed, TooLarge, Trouble
from mailx.core.resolver import Resolver
from mailx.core.settings import Settings
from mailx.core.urls import connection, target
from mailx.mail.times import iso

TIMEOUT = 15.0  # seconds for all of it
OCTETS_LIMIT = 65536  # of an answer
_LATE = "no answer in time"
_MEANT = (Trouble.NO_ADDRESS, Trouble.FORBIDDEN, Trouble.NO_CERTIFICATE)  # what waiting does not mend


class NotPosted(Exception):
    """Nothing was posted, or nobody knows whether it was. ``unreachable``: the server as a whole does not work now."""

    def __init__(self, reason: str, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unreachable = unreachable


def signed(prefix: str, secret: str, body: bytes, now: float) -> dict[str, str]:
    """The header fields that sign ``body`` as calls of the webhook are signed; none without a secret."""
    if not secret:
        return {}
    timestamp = iso(now)
    signature = hmac.new(secret.encode(), timestamp.encode() + b"." + body, sha256).hexdigest()
    return {f"{prefix}-Timestamp": timestamp, f"{prefix}-Signature": signature}


class Posting:
    """Posts. ``trust`` are the authorities believed, those of the system unless tests give others."""

    def __init__(self, resolver: Resolver, settings: Settings, reactor: Any, *, trust: Any = None) -> None:
        self._resolver = resolver
        self._settings = settings
        self._reactor = reactor
        self._trust = trust if trust is not None else platformTrust()

    async def post(self, url: str, body: bytes, fields: Mapping[str, str]) -> int:
        """POST ``body``, JSON, with more header ``fields``; the status of the answer, whatever it is. Raises NotPosted."""
        try:
            to = target(url)
        except ValueError as error:
            raise NotPosted(f"the URL is wrong: {error}") from None
        networks = self._settings.current.webhook.callback_networks
        exchange = Exchange(self._reactor, partial(connection, to, networks, self._trust, self._resolver, self._reactor), OCTETS_LIMIT)
        running = Deferred.fromCoroutine(_exchanged(exchange, to.url, body, fields))
        running.addTimeout(TIMEOUT, self._reactor)
        try:
            return await running
        except (TimeoutError, CancelledError, ConnectingCancelledError):
            if exchange.answer is not None:
                return exchange.answer.status
            raise NotPosted(_LATE, unreachable=True) from None
        finally:
            exchange.end()


async def _exchanged(exchange: Exchange, url: str, body: bytes, fields: Mapping[str, str]) -> int:
    try:
        answer = await exchange.ask("POST", url, {"Content-Type": "application/json", **fields}, body)
    except Failed as error:
        forbidden = error.trouble is Trouble.FORBIDDEN
        raise NotPosted(
            "the address is not one that may be posted to" if forbidden else str(error), unreachable=error.trouble not in _MEANT
        ) from None
    if not 100 <= answer.status <= 599:  # RFC 9110 15
        raise NotPosted("the answer is no HTTP")
    try:
        await exchange.body(answer)
    except (TooLarge, Failed):
        pass  # what was decided stands in the status
    return answer.status
