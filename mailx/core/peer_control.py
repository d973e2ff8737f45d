"""What administrators see of other MailX servers and do with them: list, show, look anew, set limits, forget, block.

Domains are written in A-labels. Raises DirectoryError for what cannot be, Unavailable when the store cannot answer.
"""

from collections.abc import Sequence
from typing import Any

from attrs import asdict, evolve, frozen

from mailx.core import audit
from mailx.core.peer import NEVER, STATIC, UNPINNED, Known, PeerSettings, Step
from mailx.core.peer_figures import PeerCounting, PeerFigures
from mailx.core.peers import Peers
from mailx.core.users import DirectoryError, domain_name
from mailx.identity.encoding import key_text

LIMIT_MOST = 1_000_000  # of what may be set
SEARCH_LIMIT = 253
LIMITS = ("per_minute", "per_hour", "burst", "connections")
_MAY_BE_ZERO = ("per_minute", "per_hour")  # no limit


@frozen
class PeerShown:
    """One domain as its administrator sees it. Times are seconds since 1970."""

    domain: str
    known: Known
    settings: PeerSettings
    figures: PeerFigures
    static: bool  # named by the configuration
    pinned: bool  # its mail goes no other way now

    @property
    def state(self) -> str:
        """blocked, trouble, pinned, known, missing (its mail waits), none or unknown."""
        if self.settings.blocked:
            return "blocked"
        if self.known.trouble:
            return "trouble"
        if self.known.mailx and not self.known.absent:
            return "pinned" if self.pinned else "known"
        if not self.known.absent:
            return "unknown"
        return "missing" if self.pinned else "none"


class PeerControl:
    """The administration of ``peers``."""

    def __init__(self, peers: Peers, counting: PeerCounting) -> None:
        self._peers = peers
        self._counting = counting

    async def list(self, text: str = "", after: str = "", limit: int = 50) -> Sequence[PeerShown]:
        """At most ``limit`` domains with a MailX server, or with settings of their own, by name, behind ``after``."""
        figures = await self._counting.all()
        known = {each.domain: each for each in await self._peers.every()}
        names = {*known, *self._peers.settings(), *self._peers.static}
        wanted = sorted(name for name in names if text.lower() in name and name > after)[:limit]
        return [self._shown(name, known.get(name, Known(name)), figures(name)) for name in wanted]

    async def show(self, text: str) -> PeerShown:
        """One domain, with its keys."""
        domain = self._named(text)
        return self._shown(domain, await self._peers.state(domain), await self._counting.of(domain))

    async def discover(self, text: str) -> tuple[PeerShown, tuple[Step, ...]]:
        """Look for the server of a domain now, past what is kept, step by step."""
        domain = self._named(text)
        audit.note(target=domain)
        steps = await self._peers.discover(domain)
        return await self.show(domain), steps

    async def set(self, text: str, changes: dict[str, Any]) -> PeerShown:
        """Change what is set for a domain; None (or "" for ``fallback``): as the configuration has it."""
        domain = self._named(text)
        _check(changes)
        before = self._peers.limits(domain)
        after = evolve(before, **changes)
        if after != before:
            audit.note(target=domain, before=_told(before, changes), after=_told(after, changes))
            await self._peers.set(domain, after)
        return await self.show(domain)

    async def block(self, text: str) -> PeerShown:
        """Exchange no mail with a domain by federation."""
        return await self.set(text, {"blocked": True})

    async def unblock(self, text: str) -> PeerShown:
        """The opposite."""
        return await self.set(text, {"blocked": False})

    async def forget(self, text: str) -> None:
        """Forget what was learnt of a domain: its keys, its pin, the keys of its users. What is set for it stays."""
        domain = self._named(text)
        known = await self._peers.state(domain)
        kept = {"key": key_text(known.key), "pinned": known.pinned_until} if known.key else None
        audit.note(target=domain, before=kept, changed=bool)
        if not await self._peers.forget(domain):
            raise DirectoryError("not_found", f"nothing is known of {domain}", "Look for it: `mailxctl peer discover`.")

    def _named(self, text: str) -> str:
        domain = domain_name(text)
        if self._peers.ours(domain):
            raise DirectoryError("invalid", f"{domain} is a domain of this server", "Name a domain of another server.")
        return domain

    def _shown(self, domain: str, known: Known, figures: PeerFigures) -> PeerShown:
        static = domain in self._peers.static
        if static and known.source != STATIC:
            known = self._peers.fixed(known)
        return PeerShown(domain, known, self._peers.limits(domain), figures, static, self._peers.pinned(known))


def _check(changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        if name == "fallback":
            if value not in ("", UNPINNED, NEVER):
                raise DirectoryError("invalid", f"{value!r} is no way to fall back", f"Give {UNPINNED} or {NEVER}, or nothing.")
        elif name in LIMITS and value is not None:
            least = 0 if name in _MAY_BE_ZERO else 1
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= LIMIT_MOST:
                raise DirectoryError("invalid", f"{name} must be a number from {least} to {LIMIT_MOST}")


def _told(settings: PeerSettings, changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asdict(settings).items() if name in changes}
