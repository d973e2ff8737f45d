"""Audits: what is proved is told, and whatever a server does to its log is found."""

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailx.core.log_audit import NOTE, UNREAD, WRONG, Finding, LogAudit, parse_name
from mailx.core.log_witness import Ask
from mailx.identity.statements import SeedSigner, Statement
from mailx.identity.user_keys import attested
from mailx.mail.address import Address, AddressError
from mailx.mail.log_leaf import USER_KEY
from tests.core.log_scene import Server, Source, restored, server

A, B = "a.example", "b.example"
ADA = Address.parse("ada@b.example")
NOW = 1700000000.0


class Case(TestCase):
    now = NOW

    async def open(self) -> tuple[Server, Server]:
        self.net: dict[str, Server] = {}
        a, b = [await server(self, self.net, domain, clock=lambda: self.now) for domain in (A, B)]
        await b.introduce()
        await b.grow(5)
        await b.bind(str(ADA), 1)
        await b.grow(2)
        await b.bind(str(ADA), 2)
        return a, b

    def audit(self, here: Server, source: Any = None, used: Any = None) -> LogAudit:
        async def believed(domain: str) -> Sequence[bytes]:
            return self.net[domain].keys.valid(domain) if domain in self.net else ()

        return LogAudit(
            key_log=here.log, witness=here.witness, believed=believed, source=source or Source([here]), reactor=reactor, used=used
        )

    def wrong(self, finding: Finding) -> str:
        return "; ".join(step.text for step in finding.steps if step.outcome == WRONG)


class Good(Case):
    async def test_the_history_of_somebody_elsewhere(self) -> None:
        a, b = await self.open()
        finding = await self.audit(a).audit(B, ADA)
        self.assertEqual(self.wrong(finding), "")
        self.assertTrue(finding.good)
        self.assertEqual([(line.entry.number, line.entry.leaf.serial) for line in finding.lines], [(7, 1), (10, 2)])
        self.assertTrue(all(line.statement is not None for line in finding.lines))
        assert finding.head is not None
        self.assertEqual((finding.ours, finding.head.size), (False, 11))
        kept = await a.witness.kept(B)
        assert kept is not None
        self.assertEqual(kept.head.size, 11)  # an audit is a look like any other

    async def test_ours_is_read_without_a_channel(self) -> None:
        _, b = await self.open()
        finding = await self.audit(b).audit(B, ADA)
        self.assertEqual((self.wrong(finding), finding.ours, len(finding.lines), b.asked), ("", True, 2, []))

    async def test_the_keys_of_a_domain(self) -> None:
        a, _ = await self.open()
        finding = await self.audit(a).audit(B)
        self.assertEqual(self.wrong(finding), "")
        self.assertEqual([line.entry.leaf.kind for line in finding.lines], ["domain-key", "recovery-key"])

    async def test_nobody(self) -> None:
        a, _ = await self.open()
        finding = await self.audit(a).audit(B, Address.parse("nobody@b.example"))
        self.assertEqual((finding.good, finding.lines), (True, ()))
        self.assertIn("no entries of nobody@b.example", " ".join(step.text for step in finding.steps if step.outcome == NOTE))

    async def test_the_keys_that_are_used_are_those_of_the_log(self) -> None:
        a, b = await self.open()
        statements = b.statements[USER_KEY, str(ADA)]

        async def used(address: Address) -> Sequence[Statement]:
            return statements

        finding = await self.audit(a, used=used).audit(B, ADA)
        self.assertTrue(finding.good)
        self.assertIn("are the last of the log", finding.steps[-1].text)
        statements = [attested(ADA, b"x" * 32, b"y" * 32, 2, 1000, "server", b.keys.seeds[0]).statement]
        finding = await self.audit(a, used=used).audit(B, ADA)
        self.assertIn("may be forged", self.wrong(finding))  # the domain signed it, and keeps it from its log

    async def test_after_a_rotation_old_statements_are_good(self) -> None:
        a, b = await self.open()
        b.keys.seeds = [SeedSigner(b"n" * 32)]
        finding = await self.audit(a).audit(B, ADA)
        self.assertEqual(self.wrong(finding), "")


class Tampered(Case):
    """A server that answers otherwise than its log is."""

    def source(self, here: Server, change: Mapping[str, Any]) -> Any:
        class Changed(Source):
            def to(self, local: str, remote: str) -> Ask:
                true = super().to(local, remote)

                async def ask(method: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
                    answer = dict(await true(method, fields))
                    if method in change:
                        return change[method](answer, fields)  # type: ignore[no-any-return]
                    return answer

                return ask

        return Changed([here])

    async def found(self, **change: Any) -> str:
        a, _ = await self.open()
        finding = await self.audit(a, self.source(a, change)).audit(B, ADA)
        self.assertFalse(finding.good)
        return self.wrong(finding)

    async def test_it_hides_the_last_entry(self) -> None:
        """The answer to a question about one address may lack an entry; reading the log brings it out."""

        def shortened(answer: dict[str, Any], fields: Any) -> Any:
            return {**answer, "entries": answer["entries"][:-1], "statements": answer["statements"][:-1]}

        a, _ = await self.open()
        finding = await self.audit(a, self.source(a, {"log_history": shortened})).audit(B, ADA)
        self.assertEqual([line.entry.leaf.serial for line in finding.lines], [1, 2])
        self.assertIsNone(finding.lines[-1].statement)

    async def test_it_leaves_an_entry_out(self) -> None:
        text = await self.found(log_leaves=lambda answer, fields: {"leaves": answer["leaves"][:7] + answer["leaves"][8:]})
        self.assertIn("does not follow", text)

    async def test_it_changes_an_entry(self) -> None:
        def changed(answer: dict[str, Any], fields: Any) -> Any:
            leaf = bytearray(answer["leaves"][3])
            leaf[60] ^= 1
            return {"leaves": [*answer["leaves"][:3], bytes(leaf), *answer["leaves"][4:]]}

        self.assertIn("not those that its head signs", await self.found(log_leaves=changed))

    async def test_it_has_no_entries(self) -> None:
        self.assertIn("entry 0 is missing", await self.found(log_leaves=lambda answer, fields: {"leaves": []}))

    async def test_it_proves_the_label_of_another(self) -> None:
        a, b = await self.open()

        async def other(method: str, fields: Any) -> Any:
            return await a.ask(B)(method, {**fields, "name": f"user3@{B}"})

        stolen = await other("log_history", {"kind": USER_KEY})
        finding = await self.audit(a, self.source(a, {"log_history": lambda answer, fields: stolen})).audit(B, ADA)
        self.assertIn("the proof of the label does not hold", self.wrong(finding))

    async def test_another_signs_the_head(self) -> None:
        a, b = await self.open()
        mallory = SeedSigner(b"m" * 32)
        true = b.keys.seeds
        b.keys.seeds = [mallory]

        async def believed(domain: str) -> Sequence[bytes]:
            return [true[0].public]

        audit = LogAudit(key_log=a.log, witness=a.witness, believed=believed, source=Source([a]), reactor=reactor)
        finding = await audit.audit(B, ADA)
        self.assertIn("not signed by a key", self.wrong(finding))

    async def test_statements_that_say_something_else(self) -> None:
        forged = attested(ADA, b"x" * 32, b"y" * 32, 9, 1000, "server", SeedSigner(b"m" * 32)).statement

        def changed(answer: dict[str, Any], fields: Any) -> Any:
            return {**answer, "statements": [forged.encode()]} if fields["kind"] == USER_KEY else answer

        a, _ = await self.open()
        finding = await self.audit(a, self.source(a, {"log_history": changed})).audit(B, ADA)
        self.assertEqual([line.statement for line in finding.lines], [None, None])  # not what the entries are about

    async def test_an_entry_whose_statement_nobody_signed(self) -> None:
        a, b = await self.open()
        forged = attested(ADA, b"x" * 32, b"y" * 32, 3, 1000, "server", SeedSigner(b"m" * 32)).statement
        await b.enter(USER_KEY, str(ADA), 3, forged)
        self.assertIn("signed by no key of the domain", self.wrong(await self.audit(a).audit(B, ADA)))

    async def test_an_entry_that_is_about_another_statement(self) -> None:
        a, b = await self.open()
        other = attested(Address.parse("eve@b.example"), b"x" * 32, b"y" * 32, 3, 1000, "server", b.keys.seeds[0]).statement
        await b.enter(USER_KEY, str(ADA), 3, other)
        self.assertIn("tells something else", self.wrong(await self.audit(a).audit(B, ADA)))

    async def test_a_serial_that_goes_back(self) -> None:
        a, b = await self.open()
        await b.bind(str(ADA), 1)
        self.assertIn("goes back", self.wrong(await self.audit(a).audit(B, ADA)))

    async def test_a_fork(self) -> None:
        a, b = await self.open()
        await self.audit(a).audit(B, ADA)
        keys = b.keys
        forged = await server(self, self.net, B, clock=lambda: self.now)
        forged.keys = keys
        await forged.introduce()
        await forged.grow(20)
        text = self.wrong(await self.audit(a).audit(B, ADA))
        self.assertIn("it was forked", text)
        self.assertIn("mailxctl key evidence b.example", text)

    async def test_it_shows_less_than_before(self) -> None:
        """So a revocation would be hidden, or the last keys."""
        a, b = await self.open()
        await self.audit(a).audit(B, ADA)
        less = await restored(self, b, 8, clock=lambda: self.now)
        less.statements.update(b.statements)
        finding = await self.audit(a).audit(B, ADA)
        self.assertEqual([line.entry.leaf.serial for line in finding.lines], [1])
        self.assertIn("holds back", self.wrong(finding))

        proof = await b.log.consistency(B, 8, 11)
        source = self.source(a, {})
        ask = source.to("", B)

        async def proving(method: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"proof": b"".join(proof)} if method == "log_consistency" else await ask(method, fields)

        source.to = lambda local, remote: proving
        self.assertIn("holds back", self.wrong(await self.audit(a, source).audit(B, ADA)))  # also when it proves that it is the same log

    async def test_nonsense(self) -> None:
        for answer in ({}, {"head": 5}, {"leaves": "x"}, {"entries": [[1]], "head": None}):
            for method in ("log_head", "log_history", "log_leaves", "log_epochs"):
                text = await self.found(**{method: lambda _, fields, answer=answer: answer})
                self.assertIn("the log is not sound", text)

    async def test_nobody_answers(self) -> None:
        a, b = await self.open()
        b.away = True
        finding = await self.audit(a).audit(B, ADA)
        self.assertEqual((finding.good, self.wrong(finding), finding.steps[-1].outcome), (False, "", UNREAD))
        self.assertIn("did not answer", finding.steps[-1].text)
        (step,) = (await self.audit(a).audit("c.example")).steps
        self.assertEqual((step.outcome, "no key of c.example" in step.text), (UNREAD, True))


class Names(TestCase):
    def test_names(self) -> None:
        self.assertEqual(parse_name("B.example"), (B, None))
        self.assertEqual(parse_name("Ada@B.Example"), (B, ADA))
        for wrong in ("", "@", "a@", "a b.example", "@b.example"):
            self.assertRaises(AddressError, parse_name, wrong)
