"""Debian's nginx as the reverse proxy before the receiver or the panel, with TLS on a port of its own."""

import shutil
from pathlib import Path

from tests.system.daemon import Daemon, listens
from tests.system.server import free_ports


class Nginx:
    """Passes everything from ``port`` (TLS, the certificate and key in ``chain``) on to ``upstream``, a port of 127.0.0.1.

    It tells where a request came from, as its documentation advises: X-Forwarded-For, X-Forwarded-Proto and Host.
    """

    def __init__(self, chain: Path, upstream: int) -> None:
        self.port = free_ports(1)[0]
        self._daemon = Daemon("nginx")
        self._chain, self._upstream = chain, upstream

    def start(self) -> None:
        """Raises AssertionError if it does not run."""
        directory = self._daemon.directory
        shutil.copy(self._chain, directory / "chain.pem")
        temporary = "".join(f"    {kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (directory / "nginx.conf").write_text(
            f"""daemon off;
master_process off;
pid {directory}/pid;
error_log stderr;
events {{
}}
http {{
    access_log off;
    client_max_body_size 20m;
{temporary}
    server {{
        listen 127.0.0.1:{self.port} ssl;
        ssl_certificate {directory}/chain.pem;
        ssl_certificate_key {directory}/chain.pem;
        location / {{
            proxy_pass http://127.0.0.1:{self._upstream};
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
""",
            encoding="ascii",
        )
        self._daemon.start(["-p", str(directory), "-e", "stderr", "-c", "nginx.conf"], lambda: listens("127.0.0.1", self.port))

    def stop(self) -> None:
        self._daemon.stop()
