"""``/.well-known/mailx-server``: the signed document of one of our domains.

The domain is the host that was asked for, or what ``?domain=`` says: a web server of the domain may redirect here so.
"""

from collections.abc import Callable, Sequence

from mailx.identity.documents import PATH
from mailx.mail.address import DOMAIN_LIMIT
from mailx.web.public.part import JSON_TYPE, Declined, Names, Route, octets_answer
from mailx.web.requests import Answer, Asked

FRESH = 300  # seconds that caches may keep it

Document = Callable[[str], bytes | None]  # of a domain in A-labels; None: it is not ours


class WellKnown:
    """Serves what ``document`` has."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def routes(self) -> Sequence[Route]:
        return (Route("GET", PATH, self.show),)

    async def show(self, asked: Asked, names: Names) -> Answer:
        """The document."""
        domain = asked.query.get("domain", asked.host).lower().removesuffix(".")
        document = self._document(domain) if len(domain) <= DOMAIN_LIMIT else None
        if document is None:
            raise Declined(404, "no such domain here")
        return octets_answer(document, JSON_TYPE, fresh=FRESH)
