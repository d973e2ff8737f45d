"""What CAPABILITY announces: before login, and after it (RFC 9051 6.1.1)."""

ALWAYS = (b"IMAP4rev1", b"LITERAL+", b"SASL-IR", b"ID", b"ENABLE", b"IDLE")
AFTER_LOGIN = (
    b"NAMESPACE",
    b"UIDPLUS",
    b"MOVE",
    b"UNSELECT",
    b"CHILDREN",
    b"SPECIAL-USE",
    b"CREATE-SPECIAL-USE",
    b"LIST-EXTENDED",
    b"LIST-STATUS",
    b"STATUS=SIZE",
    b"ESEARCH",
    b"SORT",
    b"SORT=DISPLAY",
    b"ESORT",
    b"SEARCHRES",
    b"WITHIN",
    b"CONTEXT=SEARCH",
    b"CONTEXT=SORT",
    b"THREAD=ORDEREDSUBJECT",
    b"THREAD=REFERENCES",
    b"THREAD=REFS",
    b"CONDSTORE",
    b"QRESYNC",
    b"UIDONLY",
    b"NOTIFY",
    b"QUOTA",
    b"QUOTA=RES-STORAGE",
    b"ACL",
    b"RIGHTS=texk",
    b"LIST-MYRIGHTS",
    b"METADATA",
    b"LIST-METADATA",
)

# What ENABLE takes (RFC 5161), and how its response spells it.
ENABLE = {
    b"CONDSTORE": b"CONDSTORE",
    b"QRESYNC": b"QRESYNC",
    b"IMAP4REV2": b"IMAP4rev2",
    b"UIDONLY": b"UIDONLY",
}
