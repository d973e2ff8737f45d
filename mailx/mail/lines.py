"""Line ends and dots: the only copy of CRLF discipline and dot-stuffing (RFC 5321 2.3.8, 4.5.2).

``DotReader`` takes the DATA stream in chunks of any size and finds ``CRLF.CRLF`` across their borders. A bare
CR, a bare LF or a NUL is never passed on as a line end (SMTP smuggling): it is counted, and the message is
refused when its end comes.
"""


def dot_stuff(content: bytes) -> bytes:
    """``content`` (whole lines, CRLF) as DATA sends it: a dot before each leading dot, no final dot."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed
