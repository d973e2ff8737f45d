"""What the server says: every constant reply, rendered once (RFC 5321 4.2, RFC 3463)."""

from mailx.mail.reply import Reply

# Codes that count as bad commands: a session with too many of them in a row is ended.
BAD = frozenset({b"500", b"501", b"502", b"503", b"504", b"530", b"538", b"555"})


def render(reply: Reply) -> bytes:
    """One reply line with its CRLF. Text that would break the line is flattened."""
    line = str(reply)
    if not line.isprintable():
        line = "".join(letter if letter.isprintable() else " " for letter in line)
    return line.encode() + b"\r\n"


def _line(code: int, enhanced: str, text: str) -> bytes:
    return render(Reply(code, enhanced, text))


OK = _line(250, "2.0.0", "OK")
RESET = _line(250, "2.0.0", "Transaction reset")
SENDER_OK = _line(250, "2.1.0", "Sender OK")
RECIPIENT_OK = _line(250, "2.1.5", "Recipient OK")
CHUNK_OK = _line(250, "2.0.0", "Chunk taken")
START_TLS = _line(220, "2.0.0", "Ready to start TLS")
AUTHENTICATED = _line(235, "2.7.0", "Authentication successful")
HELP = _line(214, "2.0.0", "See RFC 5321")
CANNOT_VERIFY = _line(252, "2.5.0", "Cannot verify the mailbox; send a message to try")
START_INPUT = b"354 Start mail input; end with <CRLF>.<CRLF>\r\n"

UNKNOWN = _line(500, "5.5.2", "Command not recognized")
BARE_LINE = _line(500, "5.5.2", "Bare CR or LF: end commands with CRLF")
BAD_OCTETS = _line(500, "5.5.2", "Command has octets that are not allowed")
COMMAND_TOO_LONG = _line(500, "5.5.6", "Command line too long")
SYNTAX = _line(501, "5.5.4", "Syntax error in parameters")
NO_ARGUMENT = _line(501, "5.5.4", "No parameter allowed")
HOST_SYNTAX = _line(501, "5.5.4", "Give your domain name or address literal")
SENDER_SYNTAX = _line(501, "5.1.7", "Syntax: MAIL FROM:<address>")
RECIPIENT_SYNTAX = _line(501, "5.1.3", "Syntax: RCPT TO:<address>")
BAD_PARAMETER = _line(501, "5.5.4", "Bad value of a parameter")
UNKNOWN_PARAMETER = _line(555, "5.5.4", "Parameter not recognized or not implemented")
NOT_IMPLEMENTED = _line(502, "5.5.1", "Command not implemented")
SENDER_NOT_ASCII = _line(553, "5.6.7", "Address is not ASCII: SMTPUTF8 is required")
CHUNK_SYNTAX = _line(501, "5.5.4", "Syntax: BDAT size [LAST]")

SAY_HELLO = _line(503, "5.5.1", "Send EHLO first")
SAY_LHLO = _line(503, "5.5.1", "Send LHLO first")
NEED_LHLO = _line(500, "5.5.1", "This is LMTP: use LHLO")
NEED_MAIL = _line(503, "5.5.1", "Send MAIL first")
NEED_RCPT = _line(503, "5.5.1", "No valid recipients")
NESTED_MAIL = _line(503, "5.5.1", "Sender already given")
IN_CHUNKS = _line(503, "5.5.1", "Message is being sent with BDAT")
IN_TRANSACTION = _line(503, "5.5.1", "Not allowed during a mail transaction")
TLS_ACTIVE = _line(503, "5.5.1", "TLS is already active")
TLS_MISSING = _line(454, "4.7.0", "TLS is not available")
TLS_INJECTION = _line(554, "5.5.0", "Input after STARTTLS before the handshake; closing")
NEED_TLS = _line(530, "5.7.0", "Must issue a STARTTLS command first")
NEED_TLS_AUTH = _line(538, "5.7.11", "Encryption required for authentication")
NEED_AUTH = _line(530, "5.7.0", "Authentication required")
ALREADY_AUTHENTICATED = _line(503, "5.5.1", "Already authenticated")
NO_MECHANISM = _line(504, "5.5.4", "Unrecognized authentication mechanism")
AUTH_CANCELLED = _line(501, "5.7.0", "Authentication cancelled")
AUTH_SYNTAX = _line(501, "5.5.2", "Cannot decode the response")
AUTH_FAILED = _line(535, "5.7.8", "Authentication credentials invalid")
AUTH_LATER = _line(454, "4.7.0", "Temporary authentication failure")

TOO_MANY_RECIPIENTS = _line(452, "4.5.3", "Too many recipients")
LOCAL_ERROR = Reply(451, "4.3.0", "Requested action aborted: local error")
TOO_LARGE = Reply(552, "5.3.4", "Message size exceeds the limit")

CLOSING_NOT_SMTP = _line(554, "5.7.0", "This is not HTTP; closing")
TOO_MANY_ERRORS = _line(421, "4.7.0", "Too many errors; closing")
TOO_MANY_CONNECTIONS = _line(421, "4.3.2", "Too many connections, try again later")
TOO_MANY_FROM_ADDRESS = _line(421, "4.3.2", "Too many connections from your address, try again later")
SHUTTING_DOWN = _line(421, "4.3.2", "Server shutting down, try again later")
REVOKED = _line(421, "4.7.0", "Account or password changed; log in again")
FAILED = _line(421, "4.3.0", "Local error; closing")
TIMEOUT = _line(421, "4.4.2", "Timeout; closing")
