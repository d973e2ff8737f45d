"""Debian's Thunderbird, without a screen: what its account wizard sets up and its folders do, proven by another client.

It is driven through its Marionette port, which runs scripts with all that Thunderbird's own windows are made of.
"""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import TestCase

from imapclient import IMAPClient
from twisted.trial.unittest import SynchronousTestCase

from tests.system.server import ADDRESS, PATIENCE, Server, program

PREFERENCES = {
    "marionette.port": 0,  # any; it tells which in a file
    # What it would fetch of the Web, it asks for here in vain; these two would ask past a proxy.
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 1,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 1,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}
# What every step may use. A step is the body of an asynchronous function; ``given`` are its arguments.
SHARED = """
const { MailServices } = ChromeUtils.importESModule('resource:///modules/MailServices.sys.mjs');
const root = () => MailServices.accounts.defaultAccount.incomingServer.rootFolder;
const folder = (name) => root().descendants.find((one) => one.name == name);
const inbox = () => root().getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
const header = (subject) => Array.from(inbox().messages).find((one) => one.subject == subject);
const done = (begin) => new Promise((resolve, reject) => {
  const end = (status) => (Components.isSuccessCode(status) ? resolve() : reject(new Error(`failed: ${status}`)));
  const listener = {
    QueryInterface: ChromeUtils.generateQI(['nsIUrlListener', 'nsIMsgCopyServiceListener', 'nsIMsgSendListener']),
    OnStartRunningUrl() {}, OnStopRunningUrl(url, status) { end(status); },
    onStartCopy() {}, onProgress() {}, setMessageKey() {}, getMessageId() {}, onStopCopy(status) { end(status); },
    onStartSending() {}, onSendProgress() {}, onStatus() {}, onSendNotPerformed() {}, onGetDraftFolderURI() {},
    onTransportSecurityError() {}, onStopSending(id, status) { if (!Components.isSuccessCode(status)) end(status); },
  };
  (async () => begin(listener))().catch(reject);
});
"""
ACCOUNT = """
const [address, password, certificate, imap, submissions] = given;
const database = Cc['@mozilla.org/security/x509certdb;1'].getService(Ci.nsIX509CertDB);
const trusted = Cc['@mozilla.org/security/certoverride;1'].getService(Ci.nsICertOverrideService);
for (const port of [imap, submissions])
  trusted.rememberValidityOverride('localhost', port, {}, database.constructX509FromBase64(certificate), true);
const { AccountConfig } = ChromeUtils.importESModule('resource:///modules/accountcreation/AccountConfig.sys.mjs');
const { CreateInBackend } = ChromeUtils.importESModule('resource:///modules/accountcreation/CreateInBackend.sys.mjs');
const login = {
  hostname: 'localhost', username: address, password, socketType: Ci.nsMsgSocketType.SSL, auth: Ci.nsMsgAuthMethod.passwordCleartext,
};
const config = new AccountConfig();
Object.assign(config.incoming, login, { type: 'imap', port: imap });
Object.assign(config.outgoing, login, { type: 'smtp', port: submissions });
Object.assign(config.identity, { realname: 'Me', emailAddress: address });
config.rememberPassword = true;
const account = await CreateInBackend.createAccountInBackend(config);
for (const server of [account.incomingServer, MailServices.outgoingServer.defaultServer]) server.password = ''; // saved ones only
return (await Services.logins.getAllLogins()).map((one) => one.hostname).sort();
"""
FOLDERS = """
const uses = ['Archive', 'Drafts', 'Inbox', 'Junk', 'SentMail', 'Trash'];
return uses.map((use) => root().getFolderWithFlags(Ci.nsMsgFolderFlags[use])?.name);
"""
UPDATE = "await done((listener) => inbox().getNewMessages(null, listener));"
SUBJECTS = "return Array.from(inbox().messages).map((one) => one.subject);"
SEEN = "return header(given[0]).isRead;"
READ = """
const uri = inbox().getUriForMsg(header(given[0]));
return new Promise((resolve, reject) => {
  let text = '';
  MailServices.messageServiceFromURI(uri).streamMessage(uri, {
    QueryInterface: ChromeUtils.generateQI(['nsIStreamListener', 'nsIRequestObserver']),
    onStartRequest() {},
    onStopRequest(request, status) { Components.isSuccessCode(status) ? resolve(text) : reject(new Error(`failed: ${status}`)); },
    onDataAvailable(request, stream, offset, count) {
      const octets = Cc['@mozilla.org/scriptableinputstream;1'].createInstance(Ci.nsIScriptableInputStream);
      octets.init(stream);
      text += octets.read(count);
    },
  }, null, null, false, '');
});
"""
MARK = """
inbox().markMessagesRead([header(given[0])], true);
inbox().markMessagesFlagged([header(given[1])], true);
"""
MOVE = """
await done((listener) => MailServices.copy.copyMessages(inbox(), [header(given[0])], folder(given[1]), true, listener, null, false));
"""
DELETE = "await done((listener) => inbox().deleteMessages([header(given[0])], null, false, false, listener, false));"
SEND = """
const account = MailServices.accounts.defaultAccount;
const fields = Cc['@mozilla.org/messengercompose/composefields;1'].createInstance(Ci.nsIMsgCompFields);
const sender = Cc['@mozilla.org/messengercompose/send;1'].createInstance(Ci.nsIMsgSend);
Object.assign(fields, { from: given[0], to: given[0], subject: given[1], body: given[2] });
await done((listener) => sender.createAndSendMessage(
  null, account.defaultIdentity, account.key, fields, false, false, Ci.nsIMsgCompDeliverMode.Now, null, 'text/plain', given[2],
  null, null, listener, '', null, Ci.nsIMsgCompType.New,
));
"""


class Thunderbird:
    """One that runs with a new profile in ``directory``; ended with the test."""

    def __init__(self, case: TestCase, directory: Path) -> None:
        self.profile = directory / "thunderbird"
        self.profile.mkdir()
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items()]
        (self.profile / "user.js").write_text("".join(lines))
        command = [program("thunderbird"), "--headless", "--no-remote", "--marionette", "--remote-allow-system-access"]
        environment = {**os.environ, "HOME": str(directory), "LC_ALL": "C.UTF-8", "MOZ_CRASHREPORTER_DISABLE": "1"}
        with open(directory / "thunderbird.log", "wb") as log:
            process = subprocess.Popen(
                [*command, "--profile", str(self.profile)],
                cwd=directory,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        case.addCleanup(process.wait, PATIENCE)
        case.addCleanup(_kill, process)
        port = self.profile / "MarionetteActivePort"
        until(lambda: port.exists() and port.read_text() or process.poll() is not None, "it did not start")
        case.assertIsNone(process.poll(), "it ended at once")
        self._socket = socket.create_connection(("127.0.0.1", int(port.read_text())), PATIENCE)
        case.addCleanup(self._socket.close)
        self._file = self._socket.makefile("rb")
        case.addCleanup(self._file.close)
        self._count = 0
        self._receive()
        self._ask("WebDriver:NewSession", {"timeouts": {"script": int(PATIENCE * 1000)}})
        self._ask("Marionette:SetContext", {"value": "chrome"})

    def do(self, step: str, *given: object) -> Any:
        """Run one of the scripts above; returns what it returns."""
        script = f"const given = Array.from(arguments); {SHARED} return (async () => {{ {step} }})();"
        return self._ask("WebDriver:ExecuteScript", {"script": script, "args": given, "sandbox": "system"})["value"]

    def _ask(self, command: str, parameters: dict[str, object]) -> Any:
        self._count += 1
        asked = json.dumps([0, self._count, command, parameters])
        self._socket.sendall(f"{len(asked)}:{asked}".encode("ascii"))
        _, _, error, answer = self._receive()
        if error is not None:
            raise AssertionError(f"{command}: {error}")
        return answer

    def _receive(self) -> Any:
        """A message of Marionette: its length, a colon, JSON."""
        digits = b""
        while not digits.endswith(b":"):
            more = self._file.read(1)
            assert more, "Thunderbird ended"
            digits += more
        return json.loads(self._file.read(int(digits[:-1])))


def until(condition: Callable[[], object], failure: str, found: Callable[[], str] = str) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{failure} {found()}"
        time.sleep(0.05)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With all its children, which would write to its profile."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


class ThunderbirdTests(SynchronousTestCase):
    """One account, set up as Thunderbird's wizard does."""

    def test_thunderbird(self) -> None:
        program("thunderbird")  # before anything starts
        server = Server(self)
        server.start()
        subjects = ["to read", "to mark", "to flag", "to move", "to delete"]
        for subject in subjects:
            server.send(subject, f"The body {subject}.")
        client = Thunderbird(self, server.directory)
        certificate = "".join(server.certificate.read_text().splitlines()[1:-1])
        ports = server.ports["imap.tls_port"], server.ports["smtp.submissions_port"]
        self.assertEqual(client.do(ACCOUNT, ADDRESS, server.password, certificate, *ports), ["imap://localhost", "smtp://localhost"])
        client.do(UPDATE)
        until(lambda: client.do(FOLDERS) == ["Archive", "Drafts", "INBOX", "Spam", "Sent", "Trash"], "folders are missing")
        self.assertEqual(client.do(SUBJECTS), subjects)
        self.assertIn("The body to read.", client.do(READ, "to read"))
        client.do(MARK, "to mark", "to flag")
        client.do(MOVE, "to move", "Archive")
        client.do(DELETE, "to delete")
        client.do(SEND, ADDRESS, "by Thunderbird", "Grüße")
        self._there(server, "Archive", {"to move": set()})
        self._there(server, "Trash", {"to delete": set()})
        self._there(server, "Sent", {"by Thunderbird": {"\\Seen"}})
        self._there(server, "INBOX", {"to read": set(), "to mark": {"\\Seen"}, "to flag": {"\\Flagged"}, "by Thunderbird": set()})
        for mailbox in ("INBOX", "Sent"):
            self.assertEqual(server.message("by Thunderbird", mailbox).get_content().strip(), "Grüße")
        with self._client(server) as other:
            other.select_folder("INBOX")
            other.add_flags(other.search(["SUBJECT", "to flag"]), [b"\\Seen"])

        def news() -> bool:
            client.do(UPDATE)
            return "by Thunderbird" in client.do(SUBJECTS) and client.do(SEEN, "to flag")

        until(news, "what is new does not come")

    def _there(self, server: Server, mailbox: str, flags: dict[str, set[str]]) -> None:
        """Wait until the messages on the server, by subject, have these system flags and no other message is there."""
        seen: dict[str, set[str]] = {}

        def there() -> bool:
            with self._client(server) as client:
                client.select_folder(mailbox, readonly=True)
                fetched = client.fetch(client.search(), ["FLAGS", "ENVELOPE"]).values()
            seen.clear()
            for item in fetched:
                system = {flag.decode() for flag in item[b"FLAGS"] if flag.startswith(b"\\")}
                seen[item[b"ENVELOPE"].subject.decode()] = system - {"\\Recent"}
            return seen == flags and len(fetched) == len(flags)

        until(there, f"{mailbox}: {flags}", lambda: f"but {seen}")

    def _client(self, server: Server) -> IMAPClient:
        client = IMAPClient("localhost", server.ports["imap.tls_port"], ssl_context=server.trust(), timeout=PATIENCE)
        client.login(ADDRESS, server.password)
        return client
