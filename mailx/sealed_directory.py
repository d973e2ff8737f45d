"""The keys of users and domains over HTTPS, as a program on the owner's side asks for them. Blocking; standard library only.

The document of a domain is fetched from ``https://DOMAIN/.well-known/mailx-server`` and must follow from the key that was
seen last: a change that the key before did not announce is refused. The keys of a user come from the same site, attested
by that key. Failure is :class:`NotFound` (there are none) or :class:`NotTrusted`, with a text for people.
"""

import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from time import time
from typing import Any
from urllib.parse import quote, urlsplit

from mailx.identity import domain_keys, user_keys
from mailx.identity.documents import DOCUMENT_LIMIT, PATH, ServerDocument
from mailx.identity.domain_keys import DomainKey
from mailx.identity.encoding import JSON, Malformed, canonical, parse
from mailx.identity.seal_verdict import Believed, domain_of
from mailx.identity.sealing import Proof
from mailx.identity.statements import mapping
from mailx.identity.user_keys import HISTORY_LIMIT, Attestation
from mailx.mail.address import Address

_LIMIT = 1 << 20  # octets of an answer
_TIMEOUT = 20.0  # seconds


class NotFound(Exception):
    """There are no such keys, or nobody answers."""


class NotTrusted(Exception):
    """What was found proves nothing, or the opposite."""


class Declined(Exception):
    """The site refuses; ``status`` is that of HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Sites:
    """Asks the sites of domains. ``known`` are the domain keys seen before; it is brought up to date."""

    def __init__(self, known: Mapping[str, DomainKey], sites: Mapping[str, str] = {}, cafile: str | None = None) -> None:
        """``sites``: where a domain's site is, if not at the domain itself. ``cafile``: authorities believed besides the system's."""
        self.known = dict(known)
        self._sites = {domain: url.rstrip("/") for domain, url in sites.items()}
        context = ssl.create_default_context()
        if cafile is not None:
            context.load_verify_locations(cafile)
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _OnlyTLS(), urllib.request.ProxyHandler())
        self._documents: dict[str, tuple[ServerDocument, str]] = {}

    def domain(self, domain: str) -> tuple[bytes, ...]:
        """The keys of ``domain`` that are good now. Raises NotFound, NotTrusted."""
        return domain_keys.valid(self._document(domain)[0].history, int(time()))

    def user(self, address: Address) -> Attestation:
        """The keys of ``address`` that mail is sealed to now. Raises NotFound, NotTrusted."""
        history = self.history(address)
        latest = history[-1]
        if latest.revoked:
            raise NotFound(f"{address} has no keys any more")
        if not latest.good(self.domain(domain_of(address)), int(time())):
            raise NotTrusted(f"the keys of {address} are not attested by its domain")
        return latest

    def history(self, address: Address) -> Sequence[Attestation]:
        """Everything attested for ``address``, the oldest first. Raises NotFound, NotTrusted."""
        domain = domain_of(address)
        _, site = self._document(domain)
        try:
            answer = mapping(self.call("GET", f"{site}/identity/{quote(address.key, safe='@')}"), "an answer")
            listed = answer.get("history")
            if not isinstance(listed, list) or not 1 <= len(listed) <= HISTORY_LIMIT:
                raise Malformed("no history")
            history = [Attestation.decode(each) for each in listed]
        except Declined as error:
            raise NotFound(f"{address} has no keys: {error}") from None
        except Malformed as error:
            raise NotTrusted(f"what {domain} says of {address} cannot be read: {error}") from None
        if any([each.address.key != address.key for each in history]) or [each.serial for each in history] != sorted(
            {each.serial for each in history}
        ):
            raise NotTrusted(f"{domain} shows the keys of somebody else for {address}")
        return history

    def believed(self, proof: Proof) -> Believed:
        """What to judge a sealed message's proof by."""
        try:
            keys = self.domain(proof.domain)
            if proof.attestation is None:
                return Believed(keys=keys)
            good = [each for each in self.history(proof.attestation.address) if each.signed_by(keys)]
            return Believed(signers={each.signing: each.holder for each in reversed(user_keys.accepted(good, int(time())))})
        except NotFound:
            return Believed()

    def site(self, domain: str) -> str:
        """The URL of the site of ``domain``. Raises NotFound, NotTrusted."""
        return self._document(domain)[1]

    def call(self, method: str, url: str, body: JSON = None, login: tuple[str, str] | None = None) -> JSON:
        """One request; raises Declined, NotFound (nobody answers), Malformed."""
        if urlsplit(url).scheme != "https":
            raise NotFound(f"{url} is not https")
        headers = {"Accept": "application/json"}
        if login is not None:
            headers["Authorization"] = "Basic " + b64encode(f"{login[0]}:{login[1]}".encode()).decode()
        data = None if body is None else canonical(body)
        return parse(self._ask(urllib.request.Request(url, data, headers, method=method))[0], _LIMIT)

    def _document(self, domain: str) -> tuple[ServerDocument, str]:
        found = self._documents.get(domain)
        if found is None:
            base = self._sites.get(domain, f"https://{domain}")
            try:
                data, url = self._ask(
                    urllib.request.Request(f"{base}{PATH}?domain={quote(domain)}", headers={"Accept": "application/json"})
                )
                document = ServerDocument.parse(data[: DOCUMENT_LIMIT + 1], domain, int(time()))
            except Declined as error:
                raise NotFound(f"{domain} has no MailX server: {error}") from None
            except Malformed as error:
                raise NotTrusted(f"the document of {domain} cannot be used: {error}") from None
            self._follow(domain, document)
            place = urlsplit(url)
            found = self._documents[domain] = document, f"{place.scheme}://{place.netloc}"
        return found

    def _follow(self, domain: str, document: ServerDocument) -> None:
        """Believe the key of a document if it follows from the one seen last."""
        known = self.known.get(domain)
        if known is not None and domain_keys.succession(known, document.history) == domain_keys.UNANNOUNCED:
            text = f"the key of {domain} has changed, and the key seen before did not announce it: somebody may pretend to be {domain}"
            raise NotTrusted(f"{text}. Ask its administrators; if they confirm it, forget the old key with --forget {domain}")
        self.known[domain] = document.history[-1]

    def _ask(self, request: urllib.request.Request) -> tuple[bytes, str]:
        """The body of the answer, and where it came from in the end."""
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as answer:
                data: bytes = answer.read(_LIMIT + 1)
                return data, answer.geturl()
        except urllib.error.HTTPError as error:
            raise Declined(error.code, _reason(error)) from None
        except (OSError, HTTPException) as error:  # URLError is an OSError
            reason = getattr(error, "reason", None) or error
            raise NotFound(f"{urlsplit(request.full_url).netloc} does not answer: {reason}") from None


class _OnlyTLS(urllib.request.HTTPRedirectHandler):
    """Follows redirects to other places with TLS, and to no others."""

    max_redirections = 3

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme != "https" or req.get_header("Authorization"):
            raise urllib.error.URLError("it redirects to where it must not")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        told = parse(error.read(_LIMIT), _LIMIT)
        if isinstance(told, dict) and isinstance(told.get("error"), str):
            return str(told["error"])[:300]
    except (OSError, ValueError, HTTPException):
        pass
    return f"status {error.code}"
