"""Paths of Unix sockets that servers listen on: what a killed server left behind makes room for the next.

A socket that answers is another server's, and what is no socket is not touched. Who is alive is told by connecting, not
by the number of a process, which another one may have by now. Shared by every edge.
"""

import os
import socket
import stat

_PATH_LIMIT = 107  # octets, unix(7)


class SocketInUse(Exception):
    """Another server answers on the socket, or the path cannot be a socket."""


def make_room(path: str, setting: str) -> None:
    """Make room for a socket at ``path``, which ``setting`` names; raises SocketInUse."""
    if len(os.fsencode(path)) > _PATH_LIMIT:
        raise SocketInUse(f"{path} is longer than the {_PATH_LIMIT} octets of a socket's name: set {setting} to a shorter path")
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketInUse(f"{path} is no socket: move it away, or set {setting} to another path")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except OSError:
            os.unlink(path)
            return
    raise SocketInUse(f"another server answers on {path}: stop it, or set {setting} to another path")
