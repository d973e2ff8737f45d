"""Made-up commands against the protocol in memory: a slice of them here, a million by ``make fuzz`` (MAILX_HYPOTHESIS=fuzz)."""

import os
import re
import sys
from random import Random

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.imap import (
    arrival,
    criteria,
    dispatch,
    fetch_grammar,
    listing_grammar,
    metadata_grammar,
    multisearch,
    notify_grammar,
    search,
    urlauth,
)
from mailx.imap import grammar as syntax
from mailx.imap.answers import Bad, No
from mailx.imap.tokens import Tokens
from tests.imap.fuzz.grammar import Grammar
from tests.imap.fuzz.player import campaign

INPUTS = int(os.environ.get("MAILX_FUZZ_INPUTS", "1000000" if os.environ.get("MAILX_HYPOTHESIS") == "fuzz" else "1500"))
SEED = int(os.environ.get("MAILX_FUZZ_SEED", "1"))
_GROWTH = 40_000_000  # octets that the process may grow by after the first 20,000 inputs


class GrammarTests(SynchronousTestCase):
    def test_sentences(self) -> None:
        """Whatever is drawn ends, is short, and has nothing of the notation left in it."""
        grammar = Grammar(Random(1))
        for _ in range(2000):
            command = grammar.command()
            self.assertLess(len(command), 20_000)
            self.assertNotIn(b"<astring>", command)
            self.assertNotIn(b"{size", command)

    def test_every_command_and_word(self) -> None:
        """Nothing that the server knows is left out, and there are whole sentences of every command."""
        grammar = Grammar(Random(2))
        words: set[bytes] = set()
        parsed: set[bytes] = set()
        for _ in range(12_000):
            command = grammar.command()
            words.update(re.findall(rb"[A-Z0-9.=-]+", command.upper()))
            name = arrival.name_of(b"a " + command.split(b"\r")[0])
            words.add(name)
            if b"{" not in command and name not in parsed:
                try:
                    dispatch.VERBS[name].parse(Tokens([command], at=len(name)))
                except (Bad, No):
                    continue
                parsed.add(name)
        known = {*dispatch.VERBS, *criteria._FLAGS, *criteria._ARGUMENTS, b"NOT", b"OR", b"FUZZY", *syntax.STATUS_ITEMS}
        known |= {*search._NUMBERS, *search._OPTIONS, b"PARTIAL", *search._BY, *search._ALGORITHMS, *urlauth._WORDS}
        known |= {*fetch_grammar._DATA, *fetch_grammar._RFC822, *fetch_grammar._MACROS, *fetch_grammar._SECTIONS, b"LAZY"}
        known |= {*listing_grammar._SELECTION, *listing_grammar._RETURNS, *notify_grammar._EVENTS, *metadata_grammar.DEPTHS}
        known |= {*multisearch._SELECTED, *multisearch._PLAIN, *multisearch._NAMING, b"VANISHED", b"CHANGEDSINCE", b"UNCHANGEDSINCE"}
        known |= {b"CATENATE", b"UTF8", b"URL", b"TEXT", b"QRESYNC", b"MAXSIZE", b"STORAGE", b"MESSAGE", b"MAILBOX", b"ANNOTATION-STORAGE"}
        self.assertEqual(known - words, set())
        self.assertEqual(set(dispatch.VERBS) - parsed, set())


class FuzzTests(TestCase):
    timeout = 36_000 if INPUTS > 100_000 else 120

    def test_every_input_is_answered(self) -> Deferred[None]:
        """A tagged answer each, no leak, no hang, no failure in the log, and no growth."""
        return Deferred.fromCoroutine(self.play())

    async def play(self) -> None:
        counts, held, done = await campaign(self, INPUTS, SEED)
        if INPUTS > 100_000:
            print(f"answers: {counts}; memory in MB: {[octets // 1_000_000 for octets in held]}", file=sys.stderr)
            # Nobody here is an administrator, has JMAP or TLS, or knows a password, the tag of a search, or when to say DONE.
            never = {b"SETQUOTA", b"GETJMAPACCESS", b"STARTTLS", b"AUTHENTICATE", b"LOGIN", b"CANCELUPDATE", b"IDLE"}
            self.assertEqual(set(dispatch.VERBS) - done - never, set())
        self.assertGreater(counts[b"OK"], INPUTS // 20)
        self.assertGreater(counts[b"BAD"], INPUTS // 4)
        self.assertLess(held[-1] - held[0], _GROWTH)
        self.assertEqual(self.flushLoggedErrors(), [])
