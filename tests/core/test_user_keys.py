"""Keys of users: attested, in the key log, renewed, revoked; what others may believe of them."""

from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from mailx.core.user_keys import CLIENT, SERVER
from mailx.core.users import SUSPENDED, DirectoryError
from mailx.identity import key_log
from mailx.identity.user_keys import VALID_SECONDS
from mailx.mail.address import Address
from mailx.mail.log_leaf import DOMAIN_KEY, USER_KEY, Leaf
from mailx.store import key_log as log_rows
from mailx.store import user_keys as rows
from tests.core.keys import DAY, ring
from tests.scenery import DOMAIN

ME = Address("me", DOMAIN)
SEALING, SIGNING = b"s" * 32, b"S" * 32


class Attesting(TestCase):
    """What an account's keys are, as others see it."""

    engine = "sqlite"

    async def test_what_was_bound_is_attested_by_the_domain_and_stands_in_its_log(self) -> None:
        keys = await ring(self, engine=self.engine)
        user = await keys.world.user(str(ME))
        self.assertIsNone(await keys.users.of(ME))
        self.assertEqual(keys.users.holder(user.id), "")
        made = await keys.users.bind(user.id, SEALING, SIGNING, CLIENT)
        found = await keys.users.of(Address("ME", DOMAIN.upper()))
        self.assertEqual(found, made)
        self.assertTrue(made.good(keys.domains.valid(DOMAIN), keys.now))
        self.assertEqual((made.serial, made.holder, made.valid_until), (1, CLIENT, keys.now + VALID_SECONDS))
        self.assertEqual(keys.users.holder(user.id), CLIENT)
        leaves = [Leaf.decode(each) for each in await keys.world.store.read(log_rows.leaves, DOMAIN, 0, 10)]
        self.assertEqual(leaves[-1].digest, made.statement.digest)
        self.assertEqual(leaves[-1].label, key_log.label(keys.domains.log_secret(DOMAIN), USER_KEY, str(ME)))
        self.assertEqual(await keys.users.statements(USER_KEY, str(ME)), [made.statement])
        self.assertEqual(len(await keys.users.statements(DOMAIN_KEY, DOMAIN)), 1)
        self.assertEqual(await keys.users.statements(DOMAIN_KEY, "other.test"), [])

    async def test_the_same_keys_again_write_nothing(self) -> None:
        keys = await ring(self, engine=self.engine)
        user = await keys.world.user(str(ME))
        first = await keys.users.bind(user.id, SEALING, SIGNING, SERVER)
        self.assertEqual(await keys.users.bind(user.id, SEALING, SIGNING, SERVER), first)
        self.assertEqual(len(await keys.users.history(ME)), 1)

    async def test_other_keys_get_the_next_serial_and_the_history_is_kept(self) -> None:
        keys = await ring(self, engine=self.engine)
        user = await keys.world.user(str(ME))
        await keys.users.bind(user.id, SEALING, SIGNING, SERVER)
        await keys.users.bind(user.id, b"t" * 32, SIGNING, SERVER)
        history = await keys.users.history(ME)
        self.assertEqual([(each.serial, each.sealing) for each in history], [(1, SEALING), (2, b"t" * 32)])

    async def test_two_at_the_same_time_both_count_one_after_the_other(self) -> None:
        keys = await ring(self, engine=self.engine)
        user = await keys.world.user(str(ME))
        binding = [Deferred.fromCoroutine(keys.users.bind(user.id, bytes([number]) * 32, SIGNING, SERVER)) for number in range(3)]
        made = await gatherResults(binding)
        self.assertEqual(sorted(each.serial for each in made), [1, 2, 3])

    async def test_a_revoked_one_is_gone_and_a_new_one_goes_on_counting(self) -> None:
        keys = await ring(self, engine=self.engine)
        user = await keys.world.user(str(ME))
        await keys.users.bind(user.id, SEALING, SIGNING, SERVER)
        await keys.users.revoke(user.id)
        await keys.users.revoke(user.id)
        self.assertIsNone(await keys.users.of(ME))
        self.assertEqual(keys.users.holder(user.id), "")
        self.assertEqual((await keys.users.bind(user.id, SEALING, SIGNING, SERVER)).serial, 3)
        self.assertEqual([each.revoked for each in await keys.users.history(ME)], [False, True, False])

    async def test_a_deleted_account_takes_its_keys_along_a_suspended_one_does_not(self) -> None:
        keys = await ring(self, engine=self.engine)
        user = await keys.world.user(str(ME))
        await keys.users.bind(user.id, SEALING, SIGNING, SERVER)
        await keys.world.accounts.set_state(ME, SUSPENDED)
        await keys.settled()
        self.assertIsNotNone(await keys.users.of(ME))
        await keys.world.accounts.erase_user(ME)
        await keys.settled()
        self.assertIsNone(await keys.users.of(ME))
        self.assertEqual([each.revoked for each in await keys.users.history(ME)], [False, True])
        successor = await keys.world.user(str(ME))
        self.assertIsNone(await keys.users.of(ME))
        self.assertEqual((await keys.users.bind(successor.id, SEALING, SIGNING, SERVER)).serial, 3)

    async def test_a_new_domain_key_attests_everything_anew_at_once(self) -> None:
        keys = await ring(self, engine=self.engine)
        for number in range(3):
            user = await keys.world.user(f"u{number}@{DOMAIN}")
            await keys.users.bind(user.id, SEALING, SIGNING, SERVER)
        await keys.domains.recover(DOMAIN, keys.recovery)
        for number in range(3):  # before what happens behind the scenes is over
            found = await keys.users.of(Address(f"u{number}", DOMAIN))
            assert found is not None
            self.assertTrue(found.signed_by([keys.domains.signer(DOMAIN).public]))
        await keys.settled()
        for number in range(3):
            self.assertEqual([each.serial for each in await keys.users.history(Address(f"u{number}", DOMAIN))], [1, 2])

    async def test_what_is_attested_anew_while_somebody_asks_is_attested_once(self) -> None:
        keys = await ring(self, engine=self.engine)
        user = await keys.world.user(str(ME))
        await keys.users.bind(user.id, SEALING, SIGNING, SERVER)
        read = keys.users._store.read

        async def slow(job: Any, *args: Any) -> Any:
            answer = await read(job, *args)
            if job is rows.latest:
                await keys.settled()
            return answer

        await keys.domains.recover(DOMAIN, keys.recovery)
        self.patch(keys.users._store, "read", slow)
        found = await keys.users.of(ME)
        assert found is not None
        self.assertTrue(found.signed_by([keys.domains.signer(DOMAIN).public]))
        self.assertEqual([each.serial for each in await keys.users.history(ME)], [1, 2])

    async def test_what_ends_soon_is_renewed(self) -> None:
        keys = await ring(self, engine=self.engine)
        user = await keys.world.user(str(ME))
        await keys.users.bind(user.id, SEALING, SIGNING, SERVER)
        keys.now += VALID_SECONDS - 10 * DAY
        keys.users.start()
        await keys.settled()
        await keys.users.stop()
        self.assertEqual([each.valid_from for each in await keys.users.history(ME)][-1], keys.now)

    async def test_another_server_on_the_database_knows_them(self) -> None:
        keys = await ring(self, engine=self.engine)
        user = await keys.world.user(str(ME))
        made = await keys.users.bind(user.id, SEALING, SIGNING, CLIENT)
        other = await keys.again()
        self.assertEqual(await other.users.of(ME), made)
        self.assertEqual(other.users.holder(user.id), CLIENT)

    async def test_keys_of_nobody_and_no_keys_are_refused(self) -> None:
        keys = await ring(self, engine=self.engine)
        user = await keys.world.user(str(ME))
        for account, sealing, holder in ((user.id + 9, SEALING, SERVER), (user.id, b"short", SERVER), (user.id, SEALING, "thief")):
            with self.assertRaises(DirectoryError):
                await keys.users.bind(account, sealing, SIGNING, holder)

    async def test_a_domain_without_a_key_attests_nothing(self) -> None:
        keys = await ring(self, engine=self.engine)
        user = await keys.world.user("me@keyless.test")
        with self.assertRaises(DirectoryError):
            await keys.users.bind(user.id, SEALING, SIGNING, SERVER)


class AttestingOnPostgreSQL(Attesting):
    engine = "postgresql"
