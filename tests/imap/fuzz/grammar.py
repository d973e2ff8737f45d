"""The commands of RFC 9051 9 and of the extensions as productions, and random sentences of them.

One production a line: a name, ``=``, alternatives between ``|``. ``<name>`` is another production, ``[...]`` may be left out,
``~`` stands for a space, ``_`` for nothing. Everything else is itself.
"""

import random
import re

_RULES = r"""
command = <any> | <auth> | <auth> | <auth> | <wide> | <wide> | <select> | <select> | <select> | <select> | <out>
any = CAPABILITY | NOOP | ID~NIL | ID~(<string>~<nstring>) | ID~(<string>~<nstring>~<string>~<nstring>) | ID~()
out = LOGIN~<astring>~<astring> | AUTHENTICATE~<mechanism>[~<base64>] | STARTTLS | LOGOUT
mechanism = PLAIN | LOGIN | SCRAM-SHA-256 | SCRAM-SHA-256-PLUS | OAUTHBEARER | EXTERNAL | <atom>
base64 = = | AGEAYg== | AA== | biwsbj1hLHI9Yg== | <atom>
auth = ENABLE~<atom>[~<enabled>] | <open>~<mailbox>[~(<openwith>)] | CREATE~<mailbox>[~(USE~(<use>))] | DELETE~<mailbox>
auth = RENAME~<mailbox>~<mailbox> | SUBSCRIBE~<mailbox> | UNSUBSCRIBE~<mailbox> | <list> | STATUS~<mailbox>~(<statuses>)
auth = NAMESPACE | IDLE | LSUB~<mailbox>~<pattern> | <append> | <append> | GETQUOTA~<quotaroot> | ENABLE~<enabled>~<enabled>
auth = GETQUOTAROOT~<mailbox> | SETQUOTA~<quotaroot>~(<quotas>) | SETQUOTA~<quotaroot>~() | GETACL~<mailbox> | MYRIGHTS~<mailbox>
auth = LISTRIGHTS~<mailbox>~<identifier> | SETACL~<mailbox>~<identifier>~<rights> | DELETEACL~<mailbox>~<identifier>
wide = GETMETADATA~[(<depths>)~]<metabox>~(<entries>) | GETMETADATA~<metabox>~<entry> | GETMETADATA~<metabox>~(<depths>)~(<entries>)
wide = SETMETADATA~<metabox>~(<values>) | SETMETADATA~<metabox>~(<entry>~<literal8>) | COMPRESS~<compression> | GETJMAPACCESS
wide = NOTIFY~NONE | NOTIFY~SET~[STATUS~]<groups> | NOTIFY~SET~[STATUS~]<groups> | ESEARCH~[IN~(<sources>)~][RETURN~(<returns>)~]<keys>
wide = ESEARCH~IN~(<sources>~())~RETURN~(<returns>)~CHARSET~<charset>~<keys>
wide = GENURLAUTH~<rump>~INTERNAL | GENURLAUTH~<rump>~INTERNAL~<rump>~<atom> | RESETKEY | RESETKEY~<mailbox>[~INTERNAL]
wide = URLFETCH~<url> | URLFETCH~<url>~(<url>~<urlwords>) | URLFETCH~(<url>)
compression = DEFLATE | <atom> | <atom> | <atom>
quotaroot = "" | me0@example.test | <astring>
quotas = <quota> | <quota>~<quotas>
quota = STORAGE~<number> | MESSAGE~<number> | MAILBOX~<number> | ANNOTATION-STORAGE~<number> | <atom>~<number>
identifier = anyone | -anyone | you@example.test | -you@example.test | <astring>
append = APPEND~<mailbox>~<appended> | APPEND~<mailbox>~<appended>~<appended> | APPEND~<mailbox>~<appended>~<appended>~<appended>
appended = [(<flags>)~][<datetime>~]<message> | <message> | ()~<message>
open = SELECT | EXAMINE
openwith = CONDSTORE | <qresync> | <qresync> | CONDSTORE~<qresync> | <qresync>~CONDSTORE
qresync = QRESYNC~(<number>~<number>[~<set>][~(<set>~<set>)]) | QRESYNC~(1~<number>~1:300~(1:3~1:3)) | QRESYNC~(1~1)
enabled = CONDSTORE | QRESYNC | IMAP4rev2 | UTF8=ACCEPT | UTF8=ONLY | UIDONLY
use = \Sent | \Trash | \Junk | \Archive | \Drafts | \All | \Nope | <flags>
list = LIST~[(<choice>)~]<mailbox>~<pattern>[~RETURN~(<listing>)] | LIST~""~(<pattern>~<pattern>) | LIST~""~"" | LIST~()~""~*
list = LIST~(<choice>)~""~*~RETURN~(<listing>) | LIST~""~*~RETURN~()
choice = SUBSCRIBED | REMOTE | RECURSIVEMATCH | SPECIAL-USE | SUBSCRIBED~RECURSIVEMATCH | SPECIAL-USE~RECURSIVEMATCH | <atom>
listing = <listed> | <listed>~<listing>
listed = SUBSCRIBED | CHILDREN | STATUS~(<statuses>) | SPECIAL-USE | MYRIGHTS | METADATA~(<entries>) | <atom>
pattern = * | % | "" | INB% | "%/*" | <astring>
statuses = <status> | <status>~<statuses>
status = MESSAGES | UIDNEXT | UIDVALIDITY | UNSEEN | SIZE | RECENT | HIGHESTMODSEQ | DELETED | APPENDLIMIT | MAILBOXID | DELETED-STORAGE
status = MESSAGES | <atom>
metabox = "" | <mailbox>
depths = <depth> | <depth>~<depth>
depth = DEPTH~0 | DEPTH~1 | DEPTH~infinity | MAXSIZE~<number> | <atom>~<number>
entries = <entry> | <entry>~<entries>
entry = /private/comment | /shared/comment | /private/vendor/<word> | /shared/admin | /<word> | <astring>
values = <entry>~<nstring> | <entry>~<nstring>~<values>
rights = lrs | +x | -w | lrswipkxtea | "" | lrswipcda | <astring>
groups = <group> | <group>~<groups>
group = (<watched>~(<events>)) | (<watched>~NONE) | (<selected>~(MessageNew~(<items>)~MessageExpunge[~FlagChange]))
selected = selected | selected-delayed
watched = <selected> | personal | inboxes | subscribed | subtree~<mailbox> | mailboxes~<mailbox> | mailboxes~(<mailbox>~<mailbox>) | <atom>
events = <paired> | <paired>~<event> | <event> | <event>~<event> | <paired>~FlagChange | <paired>~MailboxName~SubscriptionChange
paired = MessageNew~MessageExpunge
event = MailboxName | SubscriptionChange | MailboxMetadataChange | ServerMetadataChange | FlagChange | <atom>
sources = <source> | <source>~<sources>
source = selected | personal | inboxes | subscribed | subtree~<mailbox> | subtree-one~<mailbox> | mailboxes~<mailbox>
source = mailboxes~(<mailbox>~<mailbox>) | <atom>
rump = "imap://me0@example.test/<word>/;UID=<seq>;URLAUTH=<access>" | "imap://me0@example.test/INBOX/;UID=1;URLAUTH=anonymous"
rump = <astring>
access = anonymous | authuser | user+me0 | submit+<word> | <word>
url = <granted> | <granted> | <rump> | "imap://me0@example.test/INBOX/;UID=1/;SECTION=<word>;URLAUTH=anonymous:internal:00<word>"
urlwords = BODY | BINARY | BODYPARTSTRUCTURE | BODY~BODYPARTSTRUCTURE | BINARY~BODYPARTSTRUCTURE | <atom>
select = CLOSE | UNSELECT | CHECK | EXPUNGE | UID~EXPUNGE~<set> | <fetch> | UID~<fetch> | <store> | UID~<store> | <copy> | UID~<copy>
select = <search> | UID~<search> | <search> | UID~<search> | <sort> | UID~<sort> | <thread> | UID~<thread>
select = UIDBATCHES~<batch>[~<seq>:<seq>] | UIDBATCHES~500
select = CANCELUPDATE~<string> | CANCELUPDATE~<string>~<string> | <fetch> | <store> | <replace> | UID~<replace>
batch = 500 | 1000 | <number>
replace = REPLACE~<seq>~<mailbox>~<appended>
copy = COPY~<set>~<mailbox> | MOVE~<set>~<mailbox>
fetch = FETCH~<set>~<item>[~(<modifiers>)] | FETCH~<set>~(<items>)[~(<modifiers>)] | FETCH~<set>~<macro>
modifiers = CHANGEDSINCE~<number> | CHANGEDSINCE~<number>~VANISHED | PARTIAL~<window> | VANISHED | <atom>
window = <seq>:<seq> | 1:10 | -1:-10 | -<seq>:-<seq> | -<number>:<number>
macro = ALL | FULL | FAST | <atom>
items = <item> | <item>~<items>
item = FLAGS | UID | ENVELOPE | BODY | BODYSTRUCTURE | INTERNALDATE | RFC822 | RFC822.SIZE | RFC822.HEADER | RFC822.TEXT | MODSEQ | SAVEDATE
item = EMAILID | THREADID | PREVIEW | PREVIEW~(LAZY) | BINARY[<part>] | BINARY.PEEK[<part>]<partial> | BINARY.SIZE[<part>] | <atom>
item = BODY[<section>] | BODY.PEEK[<section>] | BODY[<section>]<partial> | BODY.PEEK[<section>]<partial> | BINARY[<part>]<partial>
section = _ | HEADER | TEXT | <part> | <part>.MIME | <part>.TEXT | <part>.HEADER | HEADER.FIELDS~(<fields>)
section = HEADER.FIELDS.NOT~(<fields>) | <part>.HEADER.FIELDS~(<fields>) | <part>.HEADER.FIELDS.NOT~(<fields>) | <atom>
part = _ | 1 | 2 | 1.2 | 2.1.3 | <number>.<number> | <number>
partial = <<number>.<number>> | <0.<number>> | <<number>>
fields = <astring> | <astring>~<fields>
store = STORE~<set>~[(UNCHANGEDSINCE~<number>)~]<mode>~(<flags>) | STORE~<set>~<mode>~<flag> | STORE~<set>~<mode>~()
mode = FLAGS | +FLAGS | -FLAGS | FLAGS.SILENT | +FLAGS.SILENT | -FLAGS.SILENT | <atom>
flags = <flag> | <flag>~<flags>
flag = \Seen | \Deleted | \Answered | \Flagged | \Draft | \Recent | \Nope | $Forwarded | <atom>
search = SEARCH~[RETURN~(<returns>)~][CHARSET~<charset>~]<keys> | SEARCH~<keys>
sort = SORT~[RETURN~(<returns>)~](<sortkeys>)~<charset>~<keys>
thread = THREAD~<threads>~<charset>~<keys>
threads = REFERENCES | ORDEREDSUBJECT | REFS | <atom>
charset = UTF-8 | US-ASCII | ISO-8859-1 | <astring>
sortkeys = <sortkey> | <sortkey>~<sortkeys>
sortkey = ARRIVAL | DATE | SUBJECT | SIZE | FROM | TO | CC | DISPLAYFROM | DISPLAYTO | RELEVANCY | REVERSE~DATE | REVERSE~<sortkey> | <atom>
returns = _ | <returned> | <returned>~<returns> | MIN~MAX~SAVE | CONTEXT~UPDATE~<returned> | UPDATE~(<items>)~<returned>
returned = MIN | MAX | ALL | COUNT | SAVE | PARTIAL~<window> | UPDATE | CONTEXT | RELEVANCY | <atom>
keys = <key> | <key>~<key> | <key>~<keys>
key = ALL | SEEN | UNSEEN | NEW | OLD | RECENT | DELETED | ANSWERED | DRAFT | FLAGGED | UNANSWERED | UNDELETED | UNDRAFT | UNFLAGGED
key = KEYWORD~<flag> | UNKEYWORD~<flag> | SUBJECT~<sought> | FROM~<sought> | TO~<sought> | CC~<sought> | BCC~<sought>
key = BODY~<sought> | TEXT~<sought> | HEADER~<astring>~<sought> | UID~<set> | <set> | LARGER~<number> | SMALLER~<number>
key = SINCE~<date> | BEFORE~<date> | ON~<date> | SENTON~<date> | SENTSINCE~<date> | SENTBEFORE~<date> | SAVEDON~<date> | SAVEDBEFORE~<date>
key = NOT~<key> | OR~<key>~<key> | (<keys>) | MODSEQ~<number> | MODSEQ~"/flags/\\Seen"~<kind>~<number> | OLDER~<number> | YOUNGER~<number>
key = UIDBEFORE~<number> | UIDAFTER~<number>
key = FUZZY~<key> | SAVEDSINCE~<date> | SAVEDATESUPPORTED | EMAILID~<atom> | THREADID~<atom> | $
kind = all | priv | shared | <atom>
sought = <astring> | the | hello | "" | "hello~world" | {2}+ä
date = 1-Jan-2020 | "31-Feb-2024" | 29-Feb-2024 | 00-Xxx-0000 | <atom>
datetime = "~1-Jan-2020~00:00:00~+0000" | "31-Dec-9999~23:59:60~-1200" | "29-Feb-2024~12:00:00~+0100" | <string>
set = <seq> | <seq>:<seq> | <seq>,<set> | $ | 1:* | * | 1:3
seq = 1 | 2 | * | 1 | 3 | <number>
number = 0 | 1 | 2 | 7 | 300 | 4294967295 | 4294967296 | 9223372036854775807 | 18446744073709551615 | 99999999999999999999
mailbox = INBOX | inbox | Archive | Trash | <word> | <word>/<word> | a/b/c | Users/you@example.test/INBOX | &Jjo- | &Jjo! | <astring>
astring = <word> | <word> | <string> | <atom>
nstring = NIL | <string>
string = "" | "<word>" | "<word>~<word>" | "\"<word>\\" | {3}+abc | {0}+ | {5}abcde | ~{3}+abc
message = {<size>}message | {<size>}+message | <literal8> | CATENATE~(<pieces>) | UTF8~(<literal8>)
pieces = <piece> | <piece>~<pieces>
piece = TEXT~{<size>}+message | TEXT~{<size>}message | TEXT~<literal8> | URL~"/INBOX/;UID=<seq>" | URL~<url>
piece = URL~"/INBOX;UIDVALIDITY=1/;UID=1/;SECTION=TEXT" | URL~"/INBOX/;UID=1/;SECTION=1.MIME/;PARTIAL=0.<number>" | URL~"/;UID=2"
literal8 = ~{<size>}+message
size = size
atom = <word> | X-<word> | <word>=<word> | NIL | <word>.<word>
word = a | b1 | test | Kw2 | INBOX | FLAGS | söme | 2 | plain
"""
_PIECE = re.compile(r"<[a-z0-9]+>|\[|\]|~(?!\{)|_|[^<\[\]~_]+|.")
_MESSAGE = b"Subject: made up\r\n\r\nNothing.\r\n"


class Grammar:
    """Sentences, drawn with ``dice``, for the user ``local``@example.test."""

    def __init__(self, dice: random.Random, local: str = "me0") -> None:
        self._dice = dice
        self._local = local
        self.granted = '"imap://me0@example.test/INBOX/;UID=1;URLAUTH=anonymous:internal:00"'  # a URL that GENURLAUTH gave
        self._rules: dict[str, list[str]] = {}
        for line in _RULES.strip().splitlines():
            name, _, alternatives = line.partition(" = ")
            self._rules.setdefault(name, []).extend(alternative.strip(" ") for alternative in alternatives.split(" | "))

    def command(self) -> bytes:
        """One command without its tag and its last CRLF, with its literals in it."""
        return _with_literals(self._made("command", 0).replace("me0@", self._local + "@"))

    def _made(self, name: str, depth: int) -> str:
        if name == "granted":
            return self.granted
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
            if match is not None and (match[1] in self._rules or match[1] == "granted"):
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
