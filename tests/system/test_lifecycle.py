"""How a server starts, stops, dies and comes back."""

import json
import os
import pwd
import re
import signal
import socket
import ssl
import sys
from pathlib import Path
from smtplib import SMTP
from urllib.error import HTTPError
from urllib.request import urlopen

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mailx.ops.self_signed import self_signed
from tests.system.server import ADDRESS, PATIENCE, ROOT, Server, required


class Starting(SynchronousTestCase):
    """What is said, and what is refused."""

    def test_the_first_start_tells_all_and_the_second_keeps_quiet(self) -> None:
        server = Server(self)
        notice = server.start()
        for name, port in server.ports.items():
            self.assertIn(f"127.0.0.1:{port}\n", notice, name)
        self.assertIn(f"account                        {ADDRESS}\n", notice)
        self.assertRegex(server.password, r"^(\w{5}-){3}\w{5}$")
        self.assertNotIn(server.password, server.log())
        server.send("kept")
        server.stop()
        again = server.start()
        self.assertIn(f"127.0.0.1:{server.ports['imap.tls_port']}\n", again)
        self.assertNotIn("password", again)
        self.assertEqual(server.subjects(), ["kept"])

    def test_the_commands_to_try_work(self) -> None:
        server = Server(self)
        notice = server.start()
        commands = notice[notice.index("# send") :]
        send, read = (part.replace("\\\n", "") for part in re.findall(r"# (?:send|read)\n((?:  .*\n)+?)(?=  #)", commands))
        server.run("sh", "-c", send)
        self.assertIn("Subject: Hello", server.run("sh", "-c", read))

    def test_private_files_are_private(self) -> None:
        server = Server(self)
        server.start()
        for path in [server.directory / "mailx.secret", *(server.directory / "var").rglob("*")]:
            if path != server.certificate:
                self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def failure(self, server: Server, **environ: str) -> str:
        process = server.spawn(environ=environ)
        _, said = process.communicate(timeout=PATIENCE)
        server.process = None
        self.assertEqual(process.returncode, 1, said)
        return said.decode()

    def test_wrong_settings_are_all_listed(self) -> None:
        server = Server(self, {"smtp.port": '"25"', "log.level": '"loud"'})
        said = self.failure(server, MAILX_IMAP__PORT="many")
        for expected in (
            f"{server.directory}/mailx.toml: smtp.port",
            f"{server.directory}/mailx.toml: log.level",
            "MAILX_IMAP__PORT: imap.port",
        ):
            self.assertIn(expected, said)
        self.assertNotIn("Traceback", said)

    def test_a_taken_port_is_named(self) -> None:
        server = Server(self)
        with socket.create_server(("127.0.0.1", server.ports["imap.port"])):
            said = self.failure(server)
        self.assertIn(f"mailx: imap.port = {server.ports['imap.port']}: cannot listen on 127.0.0.1 (Address already in use)", said)
        self.assertNotIn("Traceback", said)

    def test_a_lost_secret_is_named(self) -> None:
        server = Server(self)
        server.start()
        server.stop()
        (server.directory / "mailx.secret").unlink()
        said = self.failure(server)
        self.assertIn("mailx.secret is missing", said)
        self.assertNotIn("Traceback", said)

    def test_data_in_use_is_said(self) -> None:
        server = Server(self)
        server.start()
        other = Server(self)
        other.directory = server.directory
        other.write_configuration()
        said = self.failure(other)
        self.assertIn("mailx:", said)
        self.assertNotIn("Traceback", said)

    def test_rights_are_dropped_after_ports_are_bound(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can drop rights")
        server = Server(self)
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise SkipTest("there is no user nobody") from None
        for path in (Path(sys.base_prefix), Path(sys.prefix), ROOT):
            if not _open_to_others(path):
                raise SkipTest(f"{path} cannot be entered by others")
        privileged = next(port for port in range(1023, 600, -1) if _free(port))
        server.settings["smtp.port"] = str(privileged)
        server.settings["log.file"] = '"mailx.log"'
        server.ports["smtp.port"] = privileged
        server.write_configuration()
        server.directory.chmod(0o755)
        os.chown(server.directory, nobody.pw_uid, nobody.pw_gid)
        server.start("--uid", "nobody", "--gid", str(nobody.pw_gid))
        assert server.process is not None
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        self.assertEqual(set(re.findall(r"^Uid:\s+(.*)$", status, re.M)[0].split()), {str(nobody.pw_uid)})
        server.send("by a lesser user")
        self.assertEqual(server.subjects(), ["by a lesser user"])
        self.assertEqual((server.directory / "var" / "mailx.log").stat().st_uid, nobody.pw_uid)


def _open_to_others(path: Path) -> bool:
    return all(part.stat().st_mode & 0o005 == 0o005 for part in (path, *path.parents))


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Running(SynchronousTestCase):
    """What changes without a restart."""

    def shown(self, server: Server) -> bytes:
        """The certificate that a new connection is shown."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", server.ports["imap.tls_port"]), PATIENCE) as plain:
            with context.wrap_socket(plain) as wrapped:
                return wrapped.getpeercert(True) or b""

    def test_a_new_certificate_is_served_at_once(self) -> None:
        server = Server(self)
        certificate, key = self_signed(server.directory / "pki", "localhost.test")
        server.settings["tls.certificates"] = f'[{{certificate_file = "{certificate}", key_file = "{key}"}}]'
        server.write_configuration()
        server.start()
        before = self.shown(server)
        fresh_certificate, fresh_key = self_signed(server.directory / "fresh", "localhost.test")
        fresh_key.replace(key)
        fresh_certificate.replace(certificate)
        after = self.shown(server)
        self.assertNotEqual(before, after)
        self.assertEqual(ssl.DER_cert_to_PEM_cert(after), certificate.read_text())
        self.assertFalse((server.directory / "var" / "tls").exists())

    def test_a_moved_log_file_is_begun_anew(self) -> None:
        server = Server(self, {"log.file": '"mailx.log"', "log.format": '"json"'})
        server.start()
        path = server.directory / "var" / "mailx.log"
        path.rename(path.with_suffix(".old"))
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        client = server.mx()
        while not path.exists():
            client.noop()
        server.send("after the signal")
        server.stop()
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        self.assertIn("smtp.connection", [line.get("event") for line in lines])

    def test_the_log_says_what_happened_and_nothing_private(self) -> None:
        server = Server(self)
        server.start()
        server.send("private subject", "private body")
        server.imap().logout()
        server.stop()
        log = server.log()
        events = [json.loads(line).get("event") for line in log.splitlines()]
        for event in (
            "server.started",
            "smtp.started",
            "imap.started",
            "smtp.connection",
            "imap.connection",
            "smtp.stopped",
            "imap.stopped",
            "server.stopped",
        ):
            self.assertIn(event, events)
        for private in ("private subject", "private body", server.password):
            self.assertNotIn(private, log)


class Stopping(SynchronousTestCase):
    """SIGTERM and worse."""

    def test_kill_keeps_what_was_accepted(self) -> None:
        server = Server(self)
        server.start()
        for number in range(10):
            server.send(f"message {number}")
        server.stop(signal.SIGKILL)
        server.start()
        self.assertEqual(server.subjects(), [f"message {number}" for number in range(10)])
        server.send("one more")
        self.assertEqual(server.subjects()[-1], "one more")

    def test_a_large_message_survives_too(self) -> None:
        server = Server(self)
        server.start()
        body = "x" * 70 + "\r\n"
        server.send("large", body * 40000)
        server.stop(signal.SIGKILL)
        server.start()
        client = server.imap()
        client.select("INBOX")
        _, data = client.fetch("1", "(BODY.PEEK[TEXT])")
        assert isinstance(data[0], tuple)
        self.assertEqual(data[0][1].decode(), body * 40000 + "\r\n")

    def test_nothing_open_means_an_end_at_once(self) -> None:
        server = Server(self)
        server.start()
        self.assertIn(server.stop(), (0, -signal.SIGTERM))

    def test_idle_sessions_are_told_and_do_not_delay(self) -> None:
        server = Server(self)
        server.start()
        waiting, reader = server.mx(), server.imap()
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(waiting.getreply()[0], 421)
        self.assertTrue(reader.readline().startswith(b"* BYE"))
        waiting.close()
        reader.shutdown()
        self.assertIn(server.process.wait(PATIENCE), (0, -signal.SIGTERM))

    def test_an_open_transaction_is_finished(self) -> None:
        """SIGTERM in the middle of DATA: the message is still accepted, and is there after a restart."""
        server = Server(self)
        server.start()
        client = server.mx()
        client.ehlo()
        client.mail("out@example.test")
        client.rcpt(ADDRESS)
        self.assertEqual(client.docmd("DATA")[0], 354)
        client.send(b"Subject: in the middle\r\n\r\nfirst half\r\n")
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        self.refused(server)
        client.send(b"second half\r\n.\r\n")
        self.assertEqual(client.getreply()[0], 250)
        self.assertIn(server.process.wait(PATIENCE), (0, -signal.SIGTERM))
        server.stop()
        server.start()
        self.assertEqual(server.subjects(), ["in the middle"])

    def refused(self, server: Server) -> None:
        """Return once the health port, which closes last, says that the server is stopping; no new session is let in."""
        url = f"http://127.0.0.1:{server.ports['health.port']}/readyz"
        while True:
            try:
                urlopen(url, timeout=PATIENCE).close()
            except HTTPError as error:
                self.assertEqual(json.load(error)["status"], "stopping")
                break
        self.assertRaises(OSError, SMTP, "localhost", server.ports["smtp.port"], timeout=PATIENCE)


class Requirement(SynchronousTestCase):
    """The switch by which nothing may be skipped."""

    def test_it_reads_the_environment(self) -> None:
        self.patch(os, "environ", {"MAILX_REQUIRE_SYSTEM": "1"})
        self.assertTrue(required())
