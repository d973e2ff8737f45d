"""The commands of RFC 9051 9 and of the extensions as productions, and random sentences of them.

One production a line: a name, ``=``, alternatives between ``|``. ``<name>`` is another production, ``[...]`` may be left out,
``~`` stands for a space, ``_`` for nothing. Everything else is itself.
"""

import random
import re

_RULES = r"""
command = <any> | <any> | <auth> | <auth> | <auth> | <select> | <select> | <select> | <select> | <out>
any = CAPABILITY | NOOP | ID~NIL | ID~(<string>~<nstring>) | ID~(<string>~<nstring>~<string>~<nstring>)
out = LOGIN~<astring>~<astring> | AUTHENTICATE~<mechanism>[~<base64>] | STARTTLS | LOGOUT
mechanism = PLAIN | LOGIN | SCRAM-SHA-256 | SCRAM-SHA-256-PLUS | <atom>
base64 = = | AGEAYg== | AA== | biwsbj1hLHI9Yg== | <atom>
auth = ENABLE~<atom>[~<enabled>] | <open>~<mailbox>[~(<openwith>)] | CREATE~<mailbox>[~(USE~(<use>))] | DELETE~<mailbox>
auth = RENAME~<mailbox>~<mailbox> | SUBSCRIBE~<mailbox> | UNSUBSCRIBE~<mailbox> | <list> | STATUS~<mailbox>~(<statuses>)
auth = NAMESPACE | IDLE | LSUB~<mailbox>~<pattern> | APPEND~<mailbox>[~(<flags>)][~<datetime>]~<message> | GETQUOTA~<astring>
auth = GETQUOTAROOT~<mailbox> | SETQUOTA~<astring>~(STORAGE~<number>) | GETACL~<mailbox> | MYRIGHTS~<mailbox>
auth = LISTRIGHTS~<mailbox>~<astring>
auth = SETACL~<mailbox>~<astring>~<rights> | DELETEACL~<mailbox>~<astring> | GETMETADATA~[(<depth>)~]<mailbox>~(<entry>~<entry>)
auth = SETMETADATA~<mailbox>~(<entry>~<nstring>) | NOTIFY~NONE | NOTIFY~SET~[STATUS~](<watched>~(<events>)) | COMPRESS~<atom>
auth = ESEARCH~[IN~(<source>)~][RETURN~(<returns>)~]<keys> | GENURLAUTH~<string>~INTERNAL | RESETKEY | URLFETCH~<string>
auth = REPLACE~<seq>~<mailbox>~<message>
open = SELECT | EXAMINE
openwith = CONDSTORE | QRESYNC~(<number>~<number>[~<set>][~(<set>~<set>)])
enabled = CONDSTORE | QRESYNC | IMAP4rev2 | UTF8=ACCEPT | UIDONLY
use = \Sent | \Trash | \Junk | \Nope | <flags>
list = LIST~[(<choice>)~]<mailbox>~<pattern>[~RETURN~(<listed>)] | LIST~""~(<pattern>~<pattern>) | LIST~""~""
choice = SUBSCRIBED | REMOTE | RECURSIVEMATCH | SPECIAL-USE | SUBSCRIBED~RECURSIVEMATCH | <atom>
listed = SUBSCRIBED | CHILDREN | STATUS~(<statuses>) | SPECIAL-USE~MYRIGHTS | METADATA~(<entry>) | <atom>
pattern = * | % | "" | INB% | "%/*" | <astring>
statuses = <status> | <status>~<statuses>
status = MESSAGES | UIDNEXT | UIDVALIDITY | UNSEEN | SIZE | RECENT | HIGHESTMODSEQ | DELETED | APPENDLIMIT | MAILBOXID | <atom>
depth = DEPTH~1 | DEPTH~infinity | MAXSIZE~<number> | <atom>~<number>
entry = /private/comment | /shared/comment | /private/vendor/<word> | /<word> | <astring>
rights = lrs | +x | -w | lrswipkxtea | "" | <astring>
watched = selected | selected-delayed | personal | inboxes | subtree~<mailbox> | mailboxes~(<mailbox>~<mailbox>) | <atom>
events = MessageNew~MessageExpunge | MessageNew~(<items>)~MessageExpunge~FlagChange | MailboxName | <atom>
source = selected | personal | inboxes | subtree~<mailbox> | mailboxes~<mailbox> | <atom>
select = CLOSE | UNSELECT | CHECK | EXPUNGE | UID~EXPUNGE~<set> | <fetch> | UID~<fetch> | <store> | UID~<store> | <copy> | UID~<copy>
select = <search> | UID~<search> | <search> | UID~<search> | <sort> | UID~<sort> | <thread> | UID~<thread>
select = UIDBATCHES~<number>[~<seq>:<seq>]
select = CANCELUPDATE~<string> | <fetch> | <store> | UID~REPLACE~<seq>~<mailbox>~<message>
copy = COPY~<set>~<mailbox> | MOVE~<set>~<mailbox>
fetch = FETCH~<set>~<item>[~(CHANGEDSINCE~<number>[~VANISHED])] | FETCH~<set>~(<items>)[~(PARTIAL~<seq>:<seq>)] | FETCH~<set>~<macro>
macro = ALL | FULL | FAST | <atom>
items = <item> | <item>~<items>
item = FLAGS | UID | ENVELOPE | BODY | BODYSTRUCTURE | INTERNALDATE | RFC822 | RFC822.SIZE | RFC822.HEADER | RFC822.TEXT | MODSEQ | SAVEDATE
item = EMAILID | THREADID | PREVIEW | PREVIEW~(LAZY) | BINARY[<part>] | BINARY.PEEK[<part>]<partial> | BINARY.SIZE[<part>] | <atom>
item = BODY[<section>] | BODY.PEEK[<section>] | BODY[<section>]<partial> | BODY.PEEK[<section>]<partial>
section = _ | HEADER | TEXT | <part> | <part>.MIME | <part>.TEXT | HEADER.FIELDS~(<fields>) | <part>.HEADER.FIELDS.NOT~(<fields>) | <atom>
part = _ | 1 | 2 | 1.2 | 2.1.3 | <number>.<number> | <number>
partial = <<number>.<number>> | <0.<number>> | <<number>>
fields = <astring> | <astring>~<fields>
store = STORE~<set>~[(UNCHANGEDSINCE~<number>)~]<mode>~(<flags>) | STORE~<set>~<mode>~<flag> | STORE~<set>~<mode>~()
mode = FLAGS | +FLAGS | -FLAGS | FLAGS.SILENT | +FLAGS.SILENT | <atom>
flags = <flag> | <flag>~<flags>
flag = \Seen | \Deleted | \Answered | \Flagged | \Draft | \Recent | \Nope | $Forwarded | <atom>
search = SEARCH~[RETURN~(<returns>)~][CHARSET~<charset>~]<keys> | SEARCH~<keys>
sort = SORT~[RETURN~(<returns>)~](<sortkey>~<sortkey>)~<charset>~<keys>
thread = THREAD~<threads>~<charset>~<keys>
threads = REFERENCES | ORDEREDSUBJECT | REFS | <atom>
charset = UTF-8 | US-ASCII | ISO-8859-1 | <astring>
sortkey = ARRIVAL | REVERSE~DATE | SUBJECT | SIZE | FROM | TO | CC | DISPLAYFROM | <atom>
returns = _ | MIN | MAX | ALL | COUNT | SAVE | MIN~MAX~SAVE | PARTIAL~<seq>:<seq> | UPDATE | CONTEXT~COUNT | RELEVANCY~ALL | <atom>
keys = <key> | <key>~<key> | <key>~<keys>
key = ALL | SEEN | UNSEEN | NEW | OLD | RECENT | DELETED | KEYWORD~<atom> | SUBJECT~<astring> | FROM~<astring>
key = BODY~<astring> | TEXT~<astring>
key = HEADER~<astring>~<astring> | UID~<set> | <set> | LARGER~<number> | SMALLER~<number> | SINCE~<date> | BEFORE~<date> | SENTON~<date>
key = NOT~<key> | OR~<key>~<key> | (<keys>) | MODSEQ~<number> | MODSEQ~"/flags/\\Seen"~all~<number> | OLDER~<number> | YOUNGER~<number>
key = FUZZY~<key> | SAVEDSINCE~<date> | SAVEDATESUPPORTED | EMAILID~<atom> | THREADID~<atom> | $
date = 1-Jan-2020 | "31-Feb-2024" | 29-Feb-2024 | 00-Xxx-0000 | <atom>
datetime = "~1-Jan-2020~00:00:00~+0000" | "31-Dec-9999~23:59:60~-1200" | <string>
set = <seq> | <seq>:<seq> | <seq>,<set> | $ | 1:* | *
seq = 1 | 2 | * | <number>
number = 0 | 1 | 2 | 7 | 300 | 4294967295 | 4294967296 | 18446744073709551615 | 99999999999999999999
mailbox = INBOX | inbox | Archive | Trash | <word> | <word>/<word> | a/b/c | Users/you@example.test/INBOX | &Jjo- | &Jjo! | <astring>
astring = <word> | <word> | <string> | <atom>
nstring = NIL | <string>
string = "" | "<word>" | "<word>~<word>" | "\"<word>\\" | {3}+abc | {0}+ | {5}abcde | ~{3}+abc
message = {<size>}message | {<size>}+message | ~{<size>}+message | CATENATE~(TEXT~{<size>}+message)
message = CATENATE~(URL~"/INBOX/;UID=1") | UTF8~(~{<size>}+message)
size = size
atom = <word> | X-<word> | <word>=<word> | NIL | <word>.<word>
word = a | b1 | test | Kw2 | INBOX | FLAGS | söme | 2 | plain
"""
_PIECE = re.compile(r"<[a-z0-9]+>|\[|\]|~(?!\{)|_|[^<\[\]~_]+|.")
_MESSAGE = b"Subject: made up\r\n\r\nNothing.\r\n"


class Grammar:
    """Sentences, drawn with ``dice``."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._rules: dict[str, list[str]] = {}
        for line in _RULES.strip().splitlines():
            name, _, alternatives = line.partition(" = ")
            self._rules.setdefault(name, []).extend(alternative.strip(" ") for alternative in alternatives.split(" | "))

    def command(self) -> bytes:
        """One command without its tag and its last CRLF, with its literals in it."""
        return _with_literals(self._made("command", 0))

    def _made(self, name: str, depth: int) -> str:
        alternatives = self._rules[name]
        if depth > 12:
            alternatives = sorted(alternatives, key=lambda each: each.count("<"))[:1]
        return self._expanded(self._dice.choice(alternatives), depth)

    def _expanded(self, text: str, depth: int) -> str:
        made: list[str] = []
        at = 0
        while at < len(text):
            if text[at] == "[" and text[at + 1 : at + 2] in "<~(RCIPS" and (end := _closing(text, at)) > 0 and self._optional(text, at):
                if self._dice.random() < 0.5:
                    made.append(self._expanded(text[at + 1 : end], depth))
                at = end + 1
                continue
            match = re.compile(r"<([a-z0-9]+)>").match(text, at)
            if match is not None and match[1] in self._rules:
                made.append(self._made(match[1], depth + 1))
                at = match.end()
                continue
            made.append({"~": " ", "_": ""}.get(text[at], text[at]) if text[at : at + 2] != "~{" or at else text[at])
            at += 1
        return "".join(made)

    @staticmethod
    def _optional(text: str, at: int) -> bool:
        """A bracket of the notation, not one of ``BODY[...]``."""
        return not text[:at].endswith(("BODY", "PEEK", "BINARY", "SIZE"))


def _closing(text: str, at: int) -> int:
    depth = 0
    for place in range(at, len(text)):
        depth += {"[": 1, "]": -1}.get(text[place], 0)
        if not depth:
            return place
    return -1


def _with_literals(text: str) -> bytes:
    """``{3}+abc`` in the notation is a literal that does not wait, ``{5}abcde`` one that does."""
    data = text.encode()
    data = re.sub(rb"\{size\}(\+?)message", lambda found: b"{%d%b}\r\n%b" % (len(_MESSAGE), found[1], _MESSAGE), data)
    return re.sub(rb"\{(\d)\}(\+?)(?!\r)", rb"{\1\2}\r\n", data)
