"""Compares the parser with the standard library's over a directory of messages or an mbox file.

Usage: python -m tests.mail.corpus_check [--verbose] PATH...

A file whose name ends in .mbox is split; everything else is one message. Line ends become CRLF, as SMTP delivers
them. Prints how many messages were compared and how the differences are explained; leaves with 1 if one is not.
"""

import mailbox
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from tests.mail.against_stdlib import check_invariants, differences

_LINE_END = re.compile(rb"\r\n|\r|\n")


def contents(paths: list[Path]) -> Iterator[tuple[str, bytes]]:
    """Every message below ``paths`` with its name."""
    for path in paths:
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            if file.suffix == ".mbox":
                box = mailbox.mbox(file, create=False)
                for key in box.keys():
                    yield f"{file}#{key}", _crlf(box.get_bytes(key))
            else:
                yield str(file), _crlf(file.read_bytes())


def _crlf(content: bytes) -> bytes:
    return _LINE_END.sub(b"\r\n", content)


def main(arguments: list[str]) -> int:
    verbose = "--verbose" in arguments
    paths = [Path(argument) for argument in arguments if not argument.startswith("--")]
    counts: Counter[str] = Counter()
    slowest = (0.0, "")
    seen: set[bytes] = set()
    for name, content in contents(paths):
        digest = sha256(content).digest()
        if digest in seen:
            continue
        seen.add(digest)
        counts["messages, no two the same"] += 1
        counts["octets"] += len(content)
        start = time.perf_counter()
        try:
            check_invariants(content)
        except Exception as error:
            counts["broken"] += 1
            print(f"BROKEN {name}: {error!r}")
            continue
        slowest = max(slowest, (time.perf_counter() - start, name))
        found = differences(content)
        counts["the same" if not found else f"explained: {found[0][0]}" if found[0][0] else "UNEXPLAINED"] += 1
        if found and (verbose or not found[0][0]):
            print(f"{name}: {found[:3]}")
    for what, count in counts.most_common():
        print(f"{count:9d} {what}")
    print(f"slowest: {slowest[0] * 1000:.1f} ms {slowest[1]}")
    return 1 if counts["broken"] or counts["UNEXPLAINED"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
