"""``twistd`` and ``mailxctl`` begun by fork of a process that has imported all that they need: that saves a second of each start.

Only how the process comes to be differs from running the program. Directory, environment, arguments and standard streams are its
own, and it calls what the installed script calls. ``Server.spawn`` is for tests of the start itself. Where a test says so, it goes its
rounds more often.

The process that forks takes orders on a Unix socket. When the tests end, so does it, with all that it began.
"""

import atexit
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parent.parent.parent

_lock = threading.Lock()
_orders: socket.socket | None = None


class Forked:
    """One such process; what it offers it has in common with ``subprocess.Popen``."""

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        streams: Sequence[IO[Any] | int],
        constants: Mapping[str, float] | None = None,
    ) -> None:
        """Begin ``command``, whose first word ends in ``twistd`` or ``mailxctl``, with these three standard ``streams``.

        ``constants``: numbers that are others in it, by module and name (``"mailx.core.timetable.ROUND"``).
        """
        self.returncode: int | None = None
        self.stderr: IO[bytes] | None = None  # for whoever has a pipe there
        self._news, telling = os.pipe()
        self._told = b""
        order = json.dumps({"command": list(command), "cwd": str(cwd), "env": dict(env), "constants": dict(constants or {})}).encode()
        descriptors = [stream if isinstance(stream, int) else stream.fileno() for stream in streams]
        with _lock:
            orders = _open()
            socket.send_fds(orders, [len(order).to_bytes(4, "big")], [*descriptors, telling])
            orders.sendall(order)
        os.close(telling)
        self.pid = int(self._line(None))

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, negative for a signal. Raises TimeoutExpired."""
        if self.returncode is None:
            self.returncode = int(self._line(timeout))
            os.close(self._news)
        return self.returncode

    def poll(self) -> int | None:
        """The exit status, if it has ended."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Nothing happens if it has ended."""
        if self.poll() is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass  # it just ended, and we are about to be told

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _line(self, timeout: float | None) -> str:
        """What is told next: the process id, then the exit status. Raises TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._told:
            news = select.poll()
            news.register(self._news, select.POLLIN)
            if not news.poll(None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000):
                raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
            more = os.read(self._news, 64)
            if not more:
                raise AssertionError("the process that forks has ended")
            self._told += more
        line, _, self._told = self._told.partition(b"\n")
        return line.decode("ascii")


def _open() -> socket.socket:
    """The socket of the process that forks, started at first use."""
    global _orders
    if _orders is None:
        _orders, theirs = socket.socketpair()
        with theirs:
            # By its path and -P: as for an installed script, the program's name is that of the arguments.
            command = [sys.executable, "-P", __file__]
            process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)})
        atexit.register(process.wait)
        atexit.register(_orders.close)
    return _orders


class _Nursery:
    """The process that forks."""

    def __init__(self) -> None:
        import twisted.scripts._twistd_unix
        import twisted.scripts.twistd
        from twisted.internet import reactor

        import mailx.ctl.main
        import mailx.mail.envelope
        import mailx.tap

        self._reactor: Any = reactor
        self._envelope: Any = mailx.mail.envelope
        self._programs: dict[str, Callable[[], object]] = {"twistd": twisted.scripts.twistd.run, "mailxctl": mailx.ctl.main.main}
        # Whatever is open here would be the same in all: a reactor's epoll above all. Each makes its own.
        self._reactor.waker.connectionLost(None)
        self._reactor._poller.close()
        self._orders = socket.socket(fileno=os.dup(0))
        self._children: dict[int, tuple[int, int]] = {}  # by pidfd: the process id, and where its end is told

    def run(self) -> Callable[[], object]:
        """Fork until there are no more orders. In each process that was forked: returns what it has to do."""
        while True:
            ready = select.poll()
            for descriptor in (self._orders.fileno(), *self._children):
                ready.register(descriptor, select.POLLIN)
            for descriptor, _ in ready.poll():
                if descriptor in self._children:
                    self._ended(descriptor)
                    continue
                head, streams, _, _ = socket.recv_fds(self._orders, 4, 4)
                if not head:
                    return self._end
                order = json.loads(self._read(int.from_bytes(head, "big")))
                child = os.fork()
                if not child:
                    return self._born(order, streams)
                os.write(streams[3], b"%d\n" % child)
                for each in streams[:3]:
                    os.close(each)
                self._children[os.pidfd_open(child)] = child, streams[3]

    def _read(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            found += self._orders.recv(count - len(found))
        return found

    def _ended(self, descriptor: int) -> None:
        child, telling = self._children.pop(descriptor)
        _, status = os.waitpid(child, 0)
        os.close(descriptor)
        try:
            os.write(telling, b"%d\n" % os.waitstatus_to_exitcode(status))
        except BrokenPipeError:
            pass  # nobody waits for it
        os.close(telling)

    def _end(self) -> None:
        for child, _ in self._children.values():
            os.kill(child, signal.SIGKILL)

    def _born(self, order: dict[str, Any], streams: list[int]) -> Callable[[], object]:
        """In the new process."""
        self._orders.close()
        for place in range(3):
            os.dup2(streams[place], place)
        for each in (*streams, *self._children, *(telling for _, telling in self._children.values())):
            os.close(each)
        sys.stdin = sys.__stdin__ = io.TextIOWrapper(open(0, "rb", closefd=False), "utf-8", "surrogateescape")  # type: ignore[misc]
        sys.stdout = sys.__stdout__ = io.TextIOWrapper(open(1, "wb", closefd=False), "utf-8", "surrogateescape")  # type: ignore[misc]
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["env"])
        sys.argv[:] = order["command"]
        self._reactor.__init__()
        self._envelope._key = os.urandom(32)  # the one secret that is drawn at import
        for name, value in order["constants"].items():
            module, _, constant = name.rpartition(".")
            assert hasattr(sys.modules[module], constant), name
            setattr(sys.modules[module], constant, value)
        return self._programs[Path(sys.argv[0]).name]


if __name__ == "__main__":
    sys.exit(_Nursery().run()())
