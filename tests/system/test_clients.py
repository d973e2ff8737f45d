"""Real clients send and read over verified TLS, on both engines."""

from smtplib import SMTP_SSL, SMTPRecipientsRefused
from urllib.request import urlopen

from twisted.trial.unittest import SynchronousTestCase

from tests.store import postgresql
from tests.system.server import ADDRESS, PATIENCE, Server, program
from tests.system.terminal import run_on_terminal

OTHER = "you@localhost.test"


class OnSQLite(SynchronousTestCase):
    """Send with one program, read with another."""

    def settings(self) -> dict[str, str]:
        return {}

    def setUp(self) -> None:
        self.server = Server(self, self.settings())
        self.server.start()
        self.login = f"{ADDRESS}:{self.server.password}"

    def test_curl(self) -> None:
        server = self.server
        trust = ("curl", "-sS", "--cacert", str(server.certificate), "--user", self.login)
        message = f"From: {ADDRESS}\r\nTo: {ADDRESS}\r\nSubject: by curl\r\n\r\nIt works.\r\n"
        url = f"smtps://localhost:{server.ports['smtp.submissions_port']}"
        server.run(*trust, "--mail-from", ADDRESS, "--mail-rcpt", ADDRESS, "-T", "-", url, given=message)
        read = server.run(*trust, f"imaps://localhost:{server.ports['imap.tls_port']}/INBOX;MAILINDEX=1")
        self.assertIn("Subject: by curl\n", read.replace("\r", ""))
        self.assertIn("\nDate: ", read)
        self.assertIn("\nMessage-ID: <", read)
        starttls = server.run(*trust, "--ssl-reqd", f"imap://localhost:{server.ports['imap.port']}/INBOX?SUBJECT%20curl")
        self.assertEqual(starttls.split(), ["*", "SEARCH", "1"])

    def test_swaks(self) -> None:
        server = self.server
        said = server.run(
            "swaks",
            *("--server", "localhost", "--port", str(server.ports["smtp.submission_port"]), "--tls", "--tls-verify"),
            *("--tls-ca-path", str(server.certificate), "--auth", "PLAIN", "--auth-user", ADDRESS, "--auth-password", server.password),
            *("--from", ADDRESS, "--to", ADDRESS, "--header", "Subject: by swaks"),
        )
        self.assertIn("250 2", said)
        self.assertEqual(server.subjects(), ["by swaks"])

    def test_swaks_mechanisms(self) -> None:
        server = self.server
        for mechanism in ("PLAIN", "LOGIN"):
            server.run(
                "swaks",
                *("--server", "localhost", "--port", str(server.ports["smtp.submissions_port"]), "--tls-on-connect"),
                *("--auth", mechanism, "--auth-user", ADDRESS, "--auth-password", server.password),
                *("--from", ADDRESS, "--to", ADDRESS, "--header", f"Subject: {mechanism}"),
            )
        self.assertEqual(server.subjects(), ["PLAIN", "LOGIN"])

    def test_swaks_wrong_password(self) -> None:
        server = self.server
        said = server.run(
            "swaks",
            *("--server", "localhost", "--port", str(server.ports["smtp.submissions_port"]), "--tls-on-connect"),
            *("--auth", "PLAIN", "--auth-user", ADDRESS, "--auth-password", "wrong", "--from", ADDRESS, "--to", ADDRESS),
            expect=28,
        )
        self.assertIn("535 5.7.8", said)

    def test_no_relay(self) -> None:
        server = self.server
        said = server.run(
            "swaks",
            *("--server", "localhost", "--port", str(server.ports["smtp.port"]), "--from", "a@example.test", "--to", "b@example.org"),
            expect=24,
        )
        self.assertIn("550 5.7.1", said)

    def test_lmtp(self) -> None:
        server = self.server
        server.run(
            "swaks",
            *("--protocol", "LMTP", "--server", "localhost", "--port", str(server.ports["smtp.lmtp_port"])),
            *("--from", "a@example.test", "--to", ADDRESS, "--header", "Subject: by LMTP"),
        )
        self.assertEqual(server.subjects(), ["by LMTP"])

    def test_smtplib_and_imaplib(self) -> None:
        server = self.server
        server.send("from outside")
        with SMTP_SSL("localhost", server.ports["smtp.submissions_port"], timeout=PATIENCE, context=server.trust()) as client:
            client.login(ADDRESS, server.password)
            message = f"From: {ADDRESS}\r\nTo: {ADDRESS}\r\nBcc: secret@example.test\r\nSubject: from inside\r\n\r\n.dot\r\n..dots\r\n"
            client.sendmail(ADDRESS, [ADDRESS], message)
            self.assertRaises(SMTPRecipientsRefused, client.sendmail, ADDRESS, ["nobody@localhost.test"], message)
        reader = server.imap()
        self.assertEqual(reader.select("INBOX"), ("OK", [b"2"]))
        _, data = reader.fetch("2", "(FLAGS BODY[])")
        assert isinstance(data[0], tuple)
        self.assertTrue(data[0][1].endswith(b"\r\n\r\n.dot\r\n..dots\r\n"), data)
        self.assertNotIn(b"secret@example.test", data[0][1])
        self.assertEqual(reader.search(None, "UNSEEN")[1], [b"1"])
        self.assertEqual(reader.store("1", "+FLAGS", "(\\Deleted)")[0], "OK")
        self.assertEqual(reader.expunge()[1], [b"1"])
        reader.logout()

    def test_idle_is_told(self) -> None:
        server = self.server
        reader = server.imap()
        reader.select("INBOX")
        reader.send(b"i IDLE\r\n")
        self.assertTrue(reader.readline().startswith(b"+"))
        server.send("news")
        line = reader.readline()
        while b"EXISTS" not in line:
            line = reader.readline()
        self.assertEqual(line, b"* 1 EXISTS\r\n")
        reader.send(b"DONE\r\n")

    def test_msmtp(self) -> None:
        server = self.server
        configuration = server.directory / "msmtprc"
        configuration.write_text(
            f"account default\nhost localhost\nport {server.ports['smtp.submission_port']}\ntls on\ntls_starttls on\n"
            f"tls_trust_file {server.certificate}\nauth scram-sha-256\nuser {ADDRESS}\npassword {server.password}\nfrom {ADDRESS}\n"
        )
        configuration.chmod(0o600)
        server.run("msmtp", "-C", str(configuration), ADDRESS, given=f"From: {ADDRESS}\nTo: {ADDRESS}\nSubject: by msmtp\n\nHello\n")
        self.assertEqual(server.subjects(), ["by msmtp"])

    def test_mbsync(self) -> None:
        """A mailbox goes to a Maildir, and what is put there comes back."""
        server = self.server
        for number in range(20):
            server.send(f"message {number}", "line\r\n" * number)
        (server.directory / "mail").mkdir()
        configuration = server.directory / "mbsyncrc"
        configuration.write_text(
            f"IMAPAccount m\nHost localhost\nPort {server.ports['imap.tls_port']}\nUser {ADDRESS}\nPass {server.password}\n"
            f"SSLType IMAPS\nCertificateFile {server.certificate}\n\nIMAPStore far\nAccount m\n\n"
            f"MaildirStore near\nPath {server.directory}/mail/\nInbox {server.directory}/mail/INBOX\nSubFolders Verbatim\n\n"
            "Channel m\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n"
        )
        server.run("mbsync", "-c", str(configuration), "-a")
        new = server.directory / "mail" / "INBOX" / "new"
        self.assertEqual(len(list(new.iterdir())), 20)
        self.assertTrue((server.directory / "mail" / "Archive").is_dir())
        (new / "1.local").write_bytes(b"From: me@localhost.test\nSubject: from the Maildir\n\nHello\n")
        victim = next(path for path in new.iterdir() if b"message 7\n" in path.read_bytes().replace(b"\r", b""))
        victim.unlink()
        server.run("mbsync", "-c", str(configuration), "-a")
        subjects = server.subjects()
        self.assertEqual(sorted(subjects), sorted([f"message {n}" for n in range(20) if n != 7] + ["from the Maildir"]))

    def test_fetchmail(self) -> None:
        server = self.server
        server.send("for fetchmail")
        configuration = server.directory / "fetchmailrc"
        configuration.write_text(
            f'poll localhost protocol IMAP port {server.ports["imap.tls_port"]} user "{ADDRESS}" password "{server.password}"\n'
            f'ssl sslcertfile "{server.certificate}" keep mda "/bin/cat >> {server.directory}/fetched"\n'
        )
        configuration.chmod(0o600)
        server.run("fetchmail", "-f", str(configuration), "--nodetach", "--nosyslog", "--pidfile", str(server.directory / "fetchmail.pid"))
        self.assertIn("Subject: for fetchmail", (server.directory / "fetched").read_text())

    def test_mutt(self) -> None:
        """Sends by SMTP, files a copy by APPEND, reads on a terminal."""
        server = self.server
        configuration = server.directory / "muttrc"
        configuration.write_text(
            f'set from="{ADDRESS}" imap_user="{ADDRESS}" imap_pass="{server.password}" smtp_pass="{server.password}"\n'
            f'set smtp_url="smtps://me%40localhost.test@localhost:{server.ports["smtp.submissions_port"]}/"\n'
            f'set folder="imaps://localhost:{server.ports["imap.tls_port"]}/" spoolfile="+INBOX" record="+Sent"\n'
            f'set certificate_file="{server.certificate}" ssl_verify_host=yes ssl_force_tls=yes\n'
            "set wait_key=no quit=yes confirmappend=no mark_old=no pager=builtin sleep_time=0\n"
        )
        server.run("mutt", "-F", str(configuration), "-s", "by mutt", "--", ADDRESS, given="Hello from mutt\n")
        self.assertEqual(server.subjects(), ["by mutt"])
        self.assertEqual(server.imap().select("Sent"), ("OK", [b"1"]))
        seen = server.directory / "seen"
        command = [program("mutt"), "-F", str(configuration), "-e", f"push '<pipe-message>cat > {seen}<enter><quit>'"]
        run_on_terminal(self, command, server.directory)
        self.assertIn("Subject: by mutt", seen.read_text())

    def test_health(self) -> None:
        server = self.server
        server.send("counted")
        base = f"http://127.0.0.1:{server.ports['health.port']}"
        for path in ("/healthz", "/readyz"):
            with urlopen(base + path, timeout=PATIENCE) as answer:
                self.assertEqual(answer.status, 200)
        with urlopen(base + "/metrics", timeout=PATIENCE) as answer:
            metrics = answer.read().decode()
        self.assertIn('mailx_messages_received_total{protocol="ESMTP"} 1.0', metrics)


class OnPostgreSQL(OnSQLite):
    """The same on the other engine."""

    def settings(self) -> dict[str, str]:
        server = postgresql.server()
        database = server.create_database()
        self.addCleanup(server.drop_database, database)
        return {"store.url": f'"{server.url(database)}"'}
