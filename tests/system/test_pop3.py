"""Real POP3 clients over verified TLS."""

import poplib

from twisted.trial.unittest import SynchronousTestCase

from tests.system.server import ADDRESS, PATIENCE, Server, program
from tests.system.terminal import run_on_terminal


class POP3ClientTests(SynchronousTestCase):
    """Mail comes by SMTP and is fetched by POP3."""

    def setUp(self) -> None:
        self.server = Server(self)
        self.server.start()
        self.server.send("first", "line\r\n.dot\r\n..dots\r\n.\r\n")
        self.server.send("second")

    def test_poplib(self) -> None:
        """By STLS and by implicit TLS; what is deleted is gone for IMAP as well."""
        server = self.server
        client = poplib.POP3("localhost", server.ports["pop3.port"], timeout=PATIENCE)
        self.assertNotIn("USER", client.capa())
        self.assertRaises(poplib.error_proto, client.user, ADDRESS)
        client.stls(server.trust())
        client.user(ADDRESS)
        client.pass_(server.password)
        self.assertEqual(client.stat()[0], 2)
        lines = client.retr(1)[1]
        self.assertEqual(lines[-4:], [b".dot", b"..dots", b".", b""])
        self.assertEqual(client.top(2, 0)[1][-1], b"")
        self.assertEqual(len(set(client.uidl()[1])), 2)
        client.dele(1)
        client.quit()
        again = poplib.POP3_SSL("localhost", server.ports["pop3.tls_port"], timeout=PATIENCE, context=server.trust())
        again.user(ADDRESS)
        again.pass_(server.password)
        self.assertEqual(len(again.list()[1]), 1)
        again.quit()
        self.assertEqual(server.subjects(), ["second"])

    def test_curl(self) -> None:
        server = self.server
        trust = ("curl", "-sS", "--cacert", str(server.certificate), "--user", f"{ADDRESS}:{server.password}")
        read = server.run(*trust, f"pop3s://localhost:{server.ports['pop3.tls_port']}/1")
        self.assertIn("Subject: first\n", read.replace("\r", ""))
        self.assertIn("\n.dot\n..dots\n.\n", read.replace("\r", ""))
        listed = server.run(*trust, "--ssl-reqd", "--login-options", "AUTH=PLAIN", f"pop3://localhost:{server.ports['pop3.port']}/")
        self.assertEqual([line.split()[0] for line in listed.splitlines()], ["1", "2"])

    def test_fetchmail(self) -> None:
        """Fetches and deletes, by STLS."""
        server = self.server
        configuration = server.directory / "fetchmailrc"
        configuration.write_text(
            f'poll localhost protocol POP3 port {server.ports["pop3.port"]} user "{ADDRESS}" password "{server.password}"\n'
            f'sslproto TLS1.2+ sslcertck sslcertfile "{server.certificate}" mda "/bin/cat >> {server.directory}/fetched"\n'
        )
        configuration.chmod(0o600)
        server.run("fetchmail", "-f", str(configuration), "--nodetach", "--nosyslog", "--pidfile", str(server.directory / "fetchmail.pid"))
        fetched = (server.directory / "fetched").read_text()
        self.assertIn("Subject: first", fetched)
        self.assertIn("Subject: second", fetched)
        self.assertEqual(server.subjects(), [])

    def test_mpop(self) -> None:
        """Pipelines, logs in by SCRAM, and knows by UIDL what it had."""
        server = self.server
        configuration = server.directory / "mpoprc"
        configuration.write_text(
            f"account default\nhost localhost\nport {server.ports['pop3.tls_port']}\ntls on\ntls_starttls off\n"
            f"tls_trust_file {server.certificate}\nauth scram-sha-256\nuser {ADDRESS}\npassword {server.password}\n"
            f"uidls_file {server.directory}/uidls\nkeep on\npipelining on\ndelivery mbox {server.directory}/mpop.mbox\n"
        )
        configuration.chmod(0o600)
        for number in (3, 4):
            server.run("mpop", "-C", str(configuration))
            self.assertEqual((server.directory / "mpop.mbox").read_text().count("\nSubject: "), number - 1)
            server.send(f"number {number}")

    def test_mutt(self) -> None:
        """Reads and deletes on a terminal."""
        server = self.server
        configuration = server.directory / "muttrc"
        seen = server.directory / "seen"
        configuration.write_text(
            f'set pop_user="{ADDRESS}" pop_pass="{server.password}" pop_authenticators="plain" pop_delete=yes\n'
            f'set folder="{server.directory}" spoolfile="pops://localhost:{server.ports["pop3.tls_port"]}/"\n'
            f'set certificate_file="{server.certificate}" ssl_verify_host=yes ssl_force_tls=yes\n'
            "set wait_key=no quit=yes delete=yes mark_old=no sleep_time=0 pop_checkinterval=0\n"
        )
        keys = f"push '<first-entry><pipe-message>cat > {seen}<enter><delete-message><sync-mailbox><quit>'"
        command = [program("mutt"), "-F", str(configuration), "-e", keys]
        run_on_terminal(self, command, server.directory)
        self.assertIn("Subject: first", seen.read_text())
        self.assertEqual(server.subjects(), ["second"])
