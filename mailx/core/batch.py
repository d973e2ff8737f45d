"""A batch of messages on its way into the search index: their words, gathered into one segment an account.

Pure computation on what was read from the store, for the indexer's thread. A message that does not open or has too much
text stays out of the index, and searches look into it.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from mailx.core import documents
from mailx.core.documents import Extract
from mailx.mail.sections import PartOffsets
from mailx.mail.summary import Summary
from mailx.mail.text import own_header, searchable
from mailx.mail.words import CC, FROM, SUBJECT, TO, Standing
from mailx.store.cipher import CipherError
from mailx.store.messages import Sealer, open_content, open_summary
from mailx.store.postings import STRETCH, Draft
from mailx.store.segments import Sealed, mark, sealed
from mailx.store.unindexed import Unindexed

if TYPE_CHECKING:
    from mailx.store.blobs import Blobs
    from mailx.store.cipher import Cipher
    from mailx.store.vault import Vault

TEXT_LIMIT = 2 * 1024 * 1024  # characters of one message
_OCTETS_LIMIT = 2 * TEXT_LIMIT  # of its text parts as they came


class Batch:
    """Segments in the making. Used by one thread at a time."""

    def __init__(self, cipher: "Cipher", blobs: "Blobs", vault: "Vault | None" = None, extract: Extract | None = None) -> None:
        """``vault`` opens the messages and seals the segments, if all of them are of one sealed account.

        ``extract`` reads documents that are attached; None: nobody does.
        """
        self._extract = extract
        self._sealer: Sealer = vault or cipher
        self._vault = vault
        self._blobs = blobs
        self._last: dict[int, int] = {}  # the highest number given to a document of each account
        self._drafts: dict[tuple[int, int], Draft] = {}  # by account and stretch
        self.anchor = b""
        self.weight = 0  # words of all documents together

    def unknown(self, messages: Sequence[Unindexed]) -> list[int]:
        """The accounts of ``messages`` whose last number was not yet given to ``add``."""
        return sorted({account for message in messages for account in message.accounts}.difference(self._last))

    def add(self, messages: Sequence[Unindexed], last_numbers: Mapping[int, int], unknown: Sequence[int]) -> None:
        """Take ``messages`` in. ``last_numbers`` are those of the accounts ``unknown`` that have segments already."""
        self._last.update((account, last_numbers.get(account, -1)) for account in unknown)
        for message in messages:
            self.anchor = message.guid
            found = self._standing(message) if message.accounts else None
            if found is not None:
                for account in message.accounts:
                    self._add(account, message.id, found)

    def sealed(self) -> list[Sealed]:
        """The segments, ready to be stored."""
        made = []
        for (account, stretch), draft in self._drafts.items():
            vault = b"" if self._vault is None else mark(self._vault, account)
            made.append(sealed(self._sealer, account, stretch * STRETCH + max(draft.documents), draft, vault))
        return made

    def _add(self, account: int, message_id: int, found: Standing) -> None:
        number = self._last[account] = self._last[account] + 1
        key = account, number // STRETCH
        draft = self._drafts.get(key)
        if draft is None:
            draft = self._drafts[key] = Draft()
        draft.add(number, message_id, found)
        self.weight += len(found.words)

    def _standing(self, message: Unindexed) -> Standing | None:
        try:
            summary = Summary(open_summary(self._sealer, message.guid, message.summary))
            sections = list(summary.sections())
            if sum(part.body_end - part.body_start for part in sections if part.mime_type.startswith("text/")) > _OCTETS_LIMIT:
                return None  # not even decoded
            if message.content is not None:
                content = open_content(self._sealer, message.guid, message.content)
            elif message.file is not None:
                vault = self._vault
                content = self._blobs.read(message.file) if vault is None else vault.read(self._blobs, message.file, message.guid)
            else:
                return None
        except (CipherError, OSError):  # damaged, or swept since
            return None
        return standing(content, summary, sections, self._extract)


def standing(content: bytes, summary: Summary, sections: Sequence[PartOffsets], extract: Extract | None = None) -> Standing | None:
    """The words of a message; None: it has too much text."""
    found = Standing()
    left = found.take(own_header(content, sections), False, TEXT_LIMIT)
    if left is None:
        return None
    body = searchable(content, sections, with_header=False)
    if extract is not None:
        body = chain(body, documents.texts(content, sections, extract))
    if found.take(body, True, left) is None:
        return None
    found.texts = summary.subject_text, summary.from_text, summary.to_text, summary.cc_text
    for place, text in zip((SUBJECT, FROM, TO, CC), found.texts, strict=True):
        found.mark(text, place)
    return found
