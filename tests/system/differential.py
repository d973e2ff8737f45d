"""The session that this server and Dovecot are compared by: messages, commands, and the differences that are right."""

from typing import NamedTuple

# What a new account has here.
_USES = {"INBOX": "", "Archive": "\\Archive", "Drafts": "\\Drafts", "Requests": "", "Sent": "\\Sent", "Spam": "\\Junk", "Trash": "\\Trash"}
_MAILBOXES = "".join(f"  mailbox {name} {{\n    auto = subscribe\n    special_use = {use}\n  }}\n" for name, use in _USES.items())
NAMESPACE = f"namespace inbox {{\n  inbox = yes\n  separator = /\n{_MAILBOXES}}}\n"

MESSAGES = (
    """From: Anna <a@x.test>
To: b@x.test
Date: Mon, 1 Jan 2024 10:00:00 +0000
Message-ID: <1@x>
Subject: alpha

hello world
""",
    """From: "B, C" <c@x.test>
Date: Tue, 2 Jan 2024 10:00:00 +0000
Message-ID: <2@x>
In-Reply-To: <1@x>
Subject: Re: alpha
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=q

pre
--q
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: base64

PGI+aGk8L2I+
--q
Content-Type: message/rfc822

Subject: inner
From: i@x.test

inside
--q--
""",
    """Subject: =?utf-8?q?z=C3=BC?=
From: undisclosed:;
Content-Type: multipart/alternative; boundary="w"

--w

unclosed
""",
    """Subject: bare

""",
    """From: Group: one@x.test, "T. Two" <two@x.test>;, three@x.test
To: (a comment) four@x.test (Four)
Cc: "quoted \\"name\\"" <five@x.test>,
 <six@x.test>
Date: Wed, 3 Jan 2024 23:30:00 -0500
Message-ID: <5@x>
References: <1@x> <2@x>
Subject: folded
 subject
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer"

--outer
Content-Type: message/rfc822
Content-Description: forwarded
Content-ID: <part@x>

Subject: middle
From: m@x.test
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="inner"

--inner
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

caf=E9 =
soft
--inner
Content-Type: text/html

<p>deep</p>
--inner--
--outer
Content-Type: application/octet-stream; name="a.bin"
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename="a.bin"; size=4
Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==
Content-Language: en, de
Content-Location: http://x.test/a

AAECAw==
--outer--
epilogue
""",
    """From: d@x.test
Subject: digest
MIME-Version: 1.0
Content-Type: multipart/digest; boundary=d

--d

From: one@x.test
Subject: first

one
--d

From: two@x.test
Subject: second

two
--d--
""",
    """From: e@x.test
Subject: [list] alpha (fwd)
Date: nonsense
X-Empty:
Content-Type: TEXT/Plain; Charset="UTF-8"; format=flowed
Content-Transfer-Encoding: 7BIT

last
""",
    """From: f@x.test
Subject: parts without end
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=a

--a
Content-Type: multipart/related; boundary=b; type="text/html"

--b
Content-Type: text/html

<img>
--a
Content-Type: image/gif
Content-Transfer-Encoding: base64
Content-Disposition: inline

R0lGODlh
--a--
""",
)

# One command a line; "2 " before it is of the second client. {v} and {m} are the UIDVALIDITY and HIGHESTMODSEQ of its latest SELECT,
# {M} what {m} is now; \r\n is the end of a line.
SCRIPT = r"""
SELECT nowhere
FETCH 1 FLAGS
NAMESPACE
LIST "" ""
LIST "" *
LIST "" %
STATUS d (MESSAGES UNSEEN UIDNEXT RECENT UIDVALIDITY)
STATUS nowhere (MESSAGES)
STATUS d (NONSENSE)
SELECT d
FETCH 1:* (UID RFC822.SIZE)
FETCH 1:* (FLAGS INTERNALDATE)
FETCH 1:* ENVELOPE
FETCH 1:* BODYSTRUCTURE
FETCH 1:* BODY
FETCH 1 FAST
FETCH 1 ALL
FETCH 1 FULL
FETCH 1:* BODY.PEEK[]
FETCH 1:* BODY.PEEK[HEADER]
FETCH 1:* BODY.PEEK[TEXT]
FETCH 1:* BODY.PEEK[1]
FETCH 2 BODY.PEEK[1.MIME]
FETCH 2 BODY.PEEK[2]
FETCH 2 BODY.PEEK[2.MIME]
FETCH 2 BODY.PEEK[2.HEADER]
FETCH 2 BODY.PEEK[2.TEXT]
FETCH 2 BODY.PEEK[9]
FETCH 5 (BODY.PEEK[1.1] BODY.PEEK[1.2] BODY.PEEK[1.1.MIME])
FETCH 5 BODY.PEEK[1.HEADER.FIELDS (SUBJECT)]
FETCH 5 BODY.PEEK[2]
FETCH 6 (BODY.PEEK[1.HEADER] BODY.PEEK[2.TEXT] BODY.PEEK[2])
FETCH 8 (BODY.PEEK[1.1] BODY.PEEK[2])
FETCH 1 BODY.PEEK[TEXT]<3.4>
FETCH 1 BODY.PEEK[]<9999.4>
FETCH 1 BODY.PEEK[]<0.0>
FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT X-NO)]
FETCH 1 BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT)]
FETCH 2 BINARY.PEEK[1]
FETCH 2 BINARY.PEEK[1]<1.3>
FETCH 2 BINARY.SIZE[1]
FETCH 5 BINARY.PEEK[2]
FETCH 5 BINARY.SIZE[2]
FETCH 5 BINARY.PEEK[1.1]
FETCH 1 RFC822.HEADER
FETCH 9 FLAGS
FETCH 0 FLAGS
UID FETCH 9999 FLAGS
UID FETCH 1:2 FLAGS
FETCH x FLAGS
FETCH
FETCH 1 (NONSENSE)
SEARCH ALL
SEARCH SUBJECT alpha
SEARCH NOT SUBJECT alpha
SEARCH OR FROM anna TEXT inside
SEARCH FROM two@x.test
SEARCH TO four
SEARCH CC six
SEARCH BCC x
SEARCH BODY hello
SEARCH BODY café
SEARCH CHARSET UTF-8 BODY {5+}\r\ncafé
SEARCH CHARSET UTF-8 SUBJECT {2+}\r\nü
SEARCH 2:* BODY hello
SEARCH TEXT deep
SEARCH SENTBEFORE 2-Jan-2024
SEARCH SENTON 3-Jan-2024
SEARCH SENTSINCE 2-Jan-2024
SEARCH BEFORE 2-Jan-2024
SEARCH ON 2-Jan-2024
SEARCH SINCE 3-Jan-2024
SEARCH HEADER In-Reply-To ""
SEARCH HEADER X-Empty ""
SEARCH HEADER Message-ID 5@x
SEARCH LARGER 300
SEARCH SMALLER 100
SEARCH UID 2:4
SEARCH 2,4,7:*
SEARCH SEEN
SEARCH UNSEEN
SEARCH ANSWERED
SEARCH UNFLAGGED UNDELETED UNDRAFT UNANSWERED
SEARCH FLAGGED
SEARCH DRAFT
SEARCH DELETED
SEARCH RECENT
SEARCH (SUBJECT alpha NOT (FROM anna))
SEARCH OLDER 100
SEARCH YOUNGER 100
SEARCH CHARSET UTF-8 SUBJECT z
SEARCH CHARSET X-NONE TEXT a
SEARCH NONSENSE
SEARCH
SEARCH 0
UID SEARCH SUBJECT alpha
SEARCH RETURN (MIN MAX COUNT) ALL
SEARCH RETURN (ALL) SUBJECT alpha
SEARCH RETURN () SUBJECT none-has-this
UID SEARCH RETURN (COUNT ALL) SUBJECT alpha
SEARCH RETURN (SAVE) SUBJECT alpha
FETCH $ UID
SEARCH RETURN (PARTIAL 1:2) ALL
SORT (SUBJECT) UTF-8 ALL
SORT (REVERSE DATE) UTF-8 ALL
SORT (DATE) UTF-8 ALL
SORT (FROM) UTF-8 ALL
SORT (TO) UTF-8 ALL
SORT (CC) UTF-8 ALL
SORT (ARRIVAL) UTF-8 ALL
SORT (SIZE) UTF-8 ALL
SORT (SUBJECT REVERSE SIZE) UTF-8 ALL
SORT (NONSENSE) UTF-8 ALL
SORT (SIZE) X-NONE ALL
SORT RETURN (COUNT MIN) (SIZE) UTF-8 ALL
THREAD REFERENCES UTF-8 ALL
THREAD REFS UTF-8 ALL
THREAD ORDEREDSUBJECT UTF-8 ALL
THREAD NONSENSE UTF-8 ALL
STORE 1 +FLAGS (\Seen)
STORE 1 +FLAGS.SILENT (\Flagged)
FETCH 1 FLAGS
STORE 1 FLAGS (kw)
STORE 1:2 -FLAGS (kw)
STORE 1 +FLAGS (\Bogus)
STORE 1 +FLAGS (\Recent)
STORE 9 +FLAGS (\Seen)
UID STORE 9999 +FLAGS (\Seen)
UID STORE 2 +FLAGS (\Answered $Forwarded)
SEARCH KEYWORD $Forwarded
SEARCH UNKEYWORD $Forwarded
FETCH 2 BODY[TEXT]
SEARCH SEEN
CREATE e
CREATE e
CREATE ""
CREATE INBOX
COPY 1:2 e
COPY 1 nowhere
UID COPY 9999 e
UID COPY 3,5 e
STATUS e (MESSAGES UNSEEN UIDNEXT)
STATUS e (SIZE)
MOVE 4 e
UID MOVE 9999 e
MOVE 1 nowhere
APPEND e (\Seen) "05-Jan-2024 10:00:00 +0000" {14+}\r\nSubject: x\r\n\r\n
APPEND nowhere {14+}\r\nSubject: x\r\n\r\n
APPEND e "nonsense"
STORE 3,6 +FLAGS (\Deleted)
UID EXPUNGE 1
UID EXPUNGE 3
EXPUNGE
EXPUNGE
FETCH 1:* UID
LIST "" e
LIST "" (d e)
LIST "" "D"
LIST "nowhere" *
CREATE a
CREATE a/b
CREATE a/b/c
LIST "" a*
LIST "" a/%
LIST "" % RETURN (CHILDREN)
LIST "" e RETURN (STATUS (MESSAGES))
LIST (SPECIAL-USE) "" *
DELETE a
LIST "" a*
LIST "" %
DELETE a/b/c
DELETE a/b
RENAME e f
RENAME nowhere x
RENAME f d
SUBSCRIBE f
LSUB "" f
LIST (SUBSCRIBED) "" *
UNSUBSCRIBE f
LSUB "" f
LSUB "" nowhere
DELETE nowhere
DELETE INBOX
NOOP
CHECK
FOO
UNSELECT
FETCH 1 FLAGS
EXAMINE d
STORE 1 +FLAGS (\Seen)
EXPUNGE
FETCH 1 BODY[TEXT]
CLOSE
SELECT d (CONDSTORE)
FETCH 1 (FLAGS MODSEQ)
STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\Draft)
STORE 1 (UNCHANGEDSINCE {m}) +FLAGS (\Draft)
FETCH 1:* (FLAGS) (CHANGEDSINCE {m})
SEARCH MODSEQ {M}
STATUS d (HIGHESTMODSEQ)
2 SELECT d
2 STORE 2 +FLAGS (\Flagged)
NOOP
2 STORE 3 +FLAGS (\Deleted)
NOOP
2 EXPUNGE
FETCH 1:* FLAGS
NOOP
ENABLE QRESYNC
ENABLE NONSENSE
SELECT d
2 STORE 1 -FLAGS (\Draft)
2 STORE 3 +FLAGS (\Deleted)
2 EXPUNGE
NOOP
2 STORE 3 +FLAGS (\Deleted)
2 CLOSE
SELECT d (QRESYNC ({v} {m}))
SELECT d (QRESYNC ({v} {m} 1:9))
SELECT d (QRESYNC ({v} 1 1:9 (1 1)))
SELECT d (QRESYNC (1 {m}))
SELECT d (QRESYNC (x))
SELECT d
UID FETCH 1:9 (FLAGS) (CHANGEDSINCE 1 VANISHED)
FETCH 1 (FLAGS) (CHANGEDSINCE 1 VANISHED)
STORE 1 +FLAGS (\Deleted)
EXPUNGE
MOVE 1 f
DELETE f
CLOSE
LOGOUT
"""


class Difference(NamedTuple):
    """What answers to commands like ``command`` say here is said ``there`` by Dovecot: a pattern and what takes its place.

    Nothing in its place: the line is of this server alone. No pattern: ``there`` is that of a line of Dovecot alone.
    """

    command: str
    here: str
    there: str
    reason: str


_SELECT = "(2 )?(SELECT|EXAMINE) d.*"
_STRUCTURE = r"FETCH (1:\*|5) BODY(STRUCTURE)?"

DIFFERENCES = (
    Difference(".* nowhere.*", "NONEXISTENT", "", "RFC 5530 3: the code says why"),
    Difference("DELETE INBOX", "CANNOT", "", "RFC 5530 3: the code says why"),
    Difference("NAMESPACE", r'\(\("Users/" "/"\)\)', "NIL", "RFC 2342 5: other users' mailboxes are below Users/"),
    Difference("CREATE .*", "MAILBOXID", "", "RFC 8474 4.1: CREATE tells MAILBOXID"),
    Difference(_SELECT, r"\* OK \[MAILBOXID]", "", "RFC 8474 4.2: SELECT tells MAILBOXID"),
    Difference(_SELECT, r"\* OK \[URLMECH INTERNAL]", "", "RFC 4467 8: URLAUTH is offered"),
    Difference(
        "(SELECT|EXAMINE) d", r"\* OK \[HIGHESTMODSEQ]", "", "RFC 7162 3.1.2.1: told at every SELECT, before CONDSTORE is enabled too"
    ),
    Difference(
        r"FETCH 1:\* BODY.PEEK\[1]",
        '--inner--"',
        '--inner--\r\n"',
        "RFC 2046 5.1.1: the end of line before a boundary belongs to the boundary, not to the part",
    ),
    Difference(_STRUCTURE, r'(?s)"7bit" 285 (.*)\) 15', r'"7bit" 287 \1) 16', "as before: the size of that part in octets and lines"),
    Difference(
        _STRUCTURE,
        '"text" "html" NIL',
        '"text" "html" ("charset" "us-ascii")',
        "RFC 2045 5.2: us-ascii is what text/plain is by default; of text/html nothing is known",
    ),
    Difference(
        _STRUCTURE,
        r'"text" "plain" \("charset" ("UTF-8" .*)"7bit"',
        r'"TEXT" "Plain" ("Charset" \1"7BIT"',
        "RFC 2045 5.1, 6.1: types, names of parameters and encodings are the same in any case",
    ),
    Difference(r"FETCH 2 BODY.PEEK\[9]", "NIL", '""', "RFC 3501 9 (msg-att-static): an nstring, and there is no such part"),
    Difference(r"FETCH 1 BODY.PEEK\[]<0.0>", "BAD", "OK", "RFC 3501 9 (partial): the length is an nz-number"),
    Difference(r"FETCH 1 BODY.PEEK\[]<0.0>", "", '1 FETCH .* ""', "RFC 3501 9 (partial): the length is an nz-number"),
    Difference(
        r"FETCH [25] BINARY.PEEK\[.*",
        r'^(\d FETCH BINARY\S+) "',
        r'\1 ~"',
        "RFC 3516 4.3: an nstring or a literal8, which is needed for NUL only",
    ),
    Difference(
        "SEARCH SENTBEFORE .*",
        "SEARCH 1",
        "SEARCH 1 3 4 6 7 8",
        "RFC 3501 6.4.4: it is the Date field that is earlier; where there is none, nothing is",
    ),
    Difference(
        "THREAD REFS .*",
        r"\(4\) \(1 2 5\)",
        "(1 2 5) (4)",
        "of no RFC: threads stand in order of the latest arrival here, of the latest Date there",
    ),
    Difference(r"STORE 1:2 -FLAGS .*", r"2 FETCH FLAGS \(.*\)", "", "RFC 3501 6.4.6: the new value is told as if by FETCH, changed or not"),
    Difference(
        r"STORE 1 \+FLAGS \(\\Recent\)",
        r"1 FETCH FLAGS \(\\Recent\)",
        "",
        "RFC 3501 2.3.2: a client cannot alter it; one that sends back the flags that it saw does not fail for that",
    ),
    Difference(r"STORE 1 \+FLAGS \(\\Recent\)", "OK", "BAD", "RFC 3501 2.3.2: as before"),
    Difference(
        'LIST "" %',
        r"\\HasChildren \\NonExistent \\Noselect\) (.*) a$",
        r"\\HasChildren) \1 a",
        "RFC 3501 6.3.4: a name that is deleted while others are below it becomes \\Noselect",
    ),
    Difference(r'LIST "" a\*', "", r"LIST \(\\HasChildren\) .* a", "RFC 3501 6.3.4 (last example): after that only % names it"),
    Difference(
        "MOVE 4 e|UID EXPUNGE 3|EXPUNGE",
        "",
        r"\d RECENT",
        "RFC 3501 7.3.2: it tells of new messages; the examples of EXPUNGE (6.4.3) and MOVE (RFC 6851 3.3) have none either",
    ),
    Difference(
        r"LIST .*RETURN \(CHILDREN\)|LIST \(SUBSCRIBED\) .*",
        r"\\(Archive|Drafts|Junk) | ?\\(Sent|Trash)\b ?|(?<=\\HasNoChildren) \\Junk",
        "",
        "RFC 6154 2: the attributes of special use may be told unasked",
    ),
    Difference(r"STORE 1 \+FLAGS \(\\Seen\)|EXPUNGE", r"NO \[READ-ONLY]", "OK []", "RFC 3501 6.3.2: EXAMINE lets nothing be changed"),
    Difference(
        "STORE 1 .UNCHANGEDSINCE .*|NOOP",
        r"(MODSEQ N) UID \d",
        r"\1",
        "RFC 3501 7.4.2: a FETCH response may tell more; the UID names the message to a client that comes back",
    ),
    Difference(r"STATUS d \(HIGHESTMODSEQ\)", r"\[]", "[CLIENTBUG]", "RFC 5530 3: advice about the client"),
    Difference(r"FETCH 1:\* FLAGS", " MODSEQ N", "", "RFC 7162 3.1: once CONDSTORE is enabled MODSEQ is in every FETCH response"),
    Difference("ENABLE NONSENSE", "ENABLED", "", "RFC 5161 4 (enable-data): the list may be empty"),
    Difference("NOOP", r"tag OK \[]", "tag OK [HIGHESTMODSEQ]", "RFC 7162 3.2.7: the code is asked for after EXPUNGE, not after NOOP"),
    Difference(r"SELECT d \(QRESYNC \(x\)\)", "", r"\* OK \[CLOSED]", "RFC 3501 7.1.3: what gets BAD was no command and closes nothing"),
    Difference("SELECT d", r"\* OK \[CLOSED]", "", "RFC 7162 3.2.11: so it is this SELECT that closes the mailbox"),
)
