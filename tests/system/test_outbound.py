"""Mail goes out to a real Postfix: found by DNS, put off, refused; through a smart host with login and TLS; to a second MailX."""

import json
import socket
from collections.abc import Mapping

from tests.system.names import Names
from tests.system.neighbours import HERE, Neighbours
from tests.system.postfix import PASSWORD, USERNAME, Postfix
from tests.system.server import Server, free_ports

ZONE = "@ MX 10 dead\n@ MX 20 mx\ndead A 127.0.0.9\nmx A 127.0.0.2\nnull MX 0 .\n"


class Direct(Neighbours):
    """The recipient's own server, found by its MX records: the first is dead."""

    def setUp(self) -> None:
        super().setUp()
        self.names_ = self.names({"remote.example": ZONE})
        # A session that is kept would not see what Postfix is told anew.
        self.server_ = self.server(self.names_, {"outbound.idle_seconds": "0"})

    def remote(self, verdicts: Mapping[str, str] | None = None) -> Postfix:
        return self.postfix("mx.remote.example", "127.0.0.2", domains=("remote.example",), verdicts=verdicts)

    def test_it_arrives_encrypted(self) -> None:
        remote = self.remote()
        self.server_.submit(["ada@remote.example", "bob@remote.example"], "hello", "From here.\r\n.\r\n..dots")
        message = remote.message("hello")
        self.assertEqual(message["Return-Path"], f"<me@{HERE}>")
        self.assertIn("TLSv1.3", message["Received"])
        self.assertEqual(message.get_payload(), "From here.\n.\n..dots\n")
        self.assertEqual(remote.connections(), 1)

    def test_a_large_message_is_the_same_at_the_end(self) -> None:
        remote = self.remote()
        body = "\r\n".join(f"{number} {'x' * (number % 900)}" for number in range(5000))
        self.server_.submit("ada@remote.example", "large", body)
        self.assertEqual(remote.message("large").get_payload(), f"{body}\r\n".replace("\r\n", "\n"))

    def test_put_off_and_tried_again(self) -> None:
        remote = self.remote({"ada@remote.example": "450 4.7.1 Greylisted"})
        self.server_.submit(["ada@remote.example", "bob@remote.example"], "patience")
        self.assertEqual(remote.message("patience")["Delivered-To"], "bob@remote.example")
        remote.judge({})
        self.wait_until(lambda: len(remote.messages()) == 2, remote.log)

    def test_refused_comes_back(self) -> None:
        self.remote({"gone@remote.example": "550 5.1.1 No such user"})
        self.server_.submit("gone@remote.example", "nobody")
        report = self.report(self.server_)
        self.assertEqual(report["Final-Recipient"], "rfc822; gone@remote.example")
        self.assertEqual(report["Action"], "failed")
        self.assertEqual(report["Status"], "5.1.1")
        self.assertIn("mx.remote.example", report["Remote-MTA"])
        self.assertIn("No such user", report["Diagnostic-Code"])

    def test_who_does_not_exist_is_told_at_once(self) -> None:
        self.server_.submit(["ada@nowhere.example", "ada@null.remote.example"], "nowhere")
        found = {report["Final-Recipient"]: report["Status"] for report in (self.report(self.server_, place) for place in range(2))}
        self.assertEqual(found, {"rfc822; ada@nowhere.example": "5.1.2", "rfc822; ada@null.remote.example": "5.1.10"})

    def test_who_wants_to_hear_of_success_hears_it_from_the_last_server(self) -> None:
        """Postfix announces DSN, so the wish is passed on and nothing comes from here."""
        remote = self.remote()
        self.server_.submit("ada@remote.example", "tell me", options=["NOTIFY=SUCCESS,FAILURE"])
        report = remote.message("Successful Mail Delivery Report")
        self.assertIn("rfc822; ada@remote.example", report.as_string().replace("rfc822;ada", "rfc822; ada"))
        self.assertEqual(self.server_.subjects(), [])

    def report(self, server: Server, place: int = 0) -> Mapping[str, str]:
        """The fields of the delivery report number ``place`` in the INBOX, waited for: those of its only recipient."""
        found: list[Mapping[str, str]] = []

        def look() -> bool:
            found[:] = [
                recipient
                for message in server.messages()
                if message.get_content_type() == "multipart/report"
                for part in message.walk()
                if part.get_content_type() == "message/delivery-status"
                for recipient in list(part.iter_parts() if part.is_multipart() else [])[1:]
            ]
            return len(found) > place

        self.wait_until(look, server.log)
        return found[place]


class SmartHost(Neighbours):
    """Everything through a smart host that wants a login and TLS."""

    def setUp(self) -> None:
        super().setUp()
        self.names_ = self.names({"smart.example": "@ A 127.0.0.3"})
        self.relay = self.postfix("smart.example", "127.0.0.3", login=True)

    def through(self, hosts: list[str], trusting: bool = True, **relay: str) -> Server:
        """A server whose only route goes through ``hosts``."""
        fields = {"security": '"starttls"', "username": f'"{USERNAME}"', "password": f'"{PASSWORD}"', "timeout": "60", **relay}
        lines = "".join(f"{name} = {value}\n" for name, value in fields.items())
        tables = f'[[outbound.relays]]\nname = "smart"\nhosts = {json.dumps(hosts)}\n{lines}[[outbound.routes]]\nrelay = "smart"\n'
        return self.server(self.names_, tables=tables, trusting=trusting)

    def test_starttls_and_every_mechanism(self) -> None:
        for mechanism in ("", "SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN"):
            server = self.through([f"smart.example:{self.relay.port}"], mechanism=f'"{mechanism}"')
            server.submit("ada@far.example", f"by {mechanism}")
            received = self.relay.message(f"by {mechanism}")["Received"]
            self.assertIn(f"Authenticated sender: {USERNAME}", received)
            self.assertIn("TLSv1.3", received)
            used = self.relay.log().rpartition("sasl_method=")[2].split(",")[0]
            self.assertEqual(used, mechanism or "SCRAM-SHA-256")
            server.stop()
            self.assertNotIn(PASSWORD, server.log())

    def test_tls_from_the_first_octet_and_fail_over(self) -> None:
        dead = free_ports(1)[0]
        server = self.through([f"smart.example:{dead}", f"smart.example:{self.relay.tls_port}"], security='"tls"')
        server.submit("ada@far.example", "second host")
        self.assertIn("TLSv1.3", self.relay.message("second host")["Received"])

    def test_one_session_for_many_messages(self) -> None:
        server = self.through([f"smart.example:{self.relay.port}"])
        for number in range(5):
            server.submit("ada@far.example", f"number {number}")
            self.relay.message(f"number {number}")
        self.assertEqual(self.relay.connections(), 1)

    def test_a_stranger_with_its_name_gets_nothing(self) -> None:
        """An unknown certificate: neither mail nor password, until the check is switched off."""
        server = self.through([f"smart.example:{self.relay.port}"], trusting=False)
        server.submit("ada@far.example", "distrust")
        self.wait_for_state(server, "deferred")
        self.assertEqual(self.relay.messages(), [])
        self.assertNotIn("sasl_method", self.relay.log())
        server.stop()
        server.tables = server.tables.replace("timeout = 60", "timeout = 60\nverify = false")
        server.write_configuration()
        notice = server.start()
        self.assertIn("UNSAFE", notice + server.log())
        self.relay.message("distrust")

    def test_a_wrong_password_waits_for_the_right_one(self) -> None:
        server = self.through([f"smart.example:{self.relay.port}"], password='"wrong"')
        server.submit("ada@far.example", "login")
        self.wait_for_state(server, "deferred")
        self.assertNotIn('"wrong"', server.log())
        server.stop()
        server.tables = server.tables.replace('password = "wrong"', f'password = "{PASSWORD}"')
        server.write_configuration()
        server.start()
        self.relay.message("login")


class TwoServers(Neighbours):
    """Two MailX exchange mail, by DNS and STARTTLS."""

    def setUp(self) -> None:
        super().setUp()
        self.names_ = self.names({HERE: "@ MX 10 mx\nmx A 127.0.0.2", "there.example": "@ MX 10 mx\nmx A 127.0.0.3"})
        self.here = self.one("127.0.0.2", HERE, self.names_)
        self.there = self.one("127.0.0.3", "there.example", self.names_)

    def one(self, address: str, domain: str, names: Names) -> Server:
        settings = {"server.hostname": f'"mx.{domain}"', "smtp.port": str(self.port), "outbound.tls": '"required"'}
        return self.server(names, settings, address=address, domain=domain)

    def test_there_and_back(self) -> None:
        self.here.submit("me@there.example", "there")
        message = self.there.message("there")
        self.assertEqual(message["Return-Path"], f"<me@{HERE}>")
        self.assertIn("with ESMTPS (TLSv1.3)", " ".join(message["Received"].split()))
        self.there.submit(f"me@{HERE}", "and back")
        self.here.message("and back")

    def test_nobody_there_is_told(self) -> None:
        self.here.submit("nobody@there.example", "nobody")
        self.wait_until(lambda: len(self.here.messages()) == 1, self.here.log)
        (report,) = self.here.messages()
        self.assertIn("No such mailbox here", report.as_string())
        self.assertEqual(report["Return-Path"], "<>")
        self.assertEqual(report["Auto-Submitted"], "auto-replied")

    def test_a_loop_ends(self) -> None:
        """Aliases on two servers that point at each other."""
        self.here.ctl("alias", "add", f"loop@{HERE}", "loop@there.example")
        self.there.ctl("alias", "add", "loop@there.example", f"loop@{HERE}")
        self.here.submit(f"loop@{HERE}", "round and round")
        self.wait_until(lambda: len(self.here.messages()) == 1, self.here.log)
        self.assertIn("went round in circles", self.here.messages()[0].as_string())


class Nothing(Neighbours):
    """Servers that do not behave."""

    def test_a_server_that_says_nothing_keeps_only_its_own_mail_waiting(self) -> None:
        names = self.names({"silent.example": "@ MX 10 mx\nmx A 127.0.0.4", "remote.example": "@ MX 10 mx\nmx A 127.0.0.2"})
        remote = self.postfix("mx.remote.example", "127.0.0.2", domains=("remote.example",))
        silent = socket.create_server(("127.0.0.4", self.port))
        self.addCleanup(silent.close)
        server = self.server(names)
        for number in range(30):
            server.submit("ada@silent.example", f"silence {number}")
        server.submit("ada@remote.example", "heard")
        remote.message("heard")
