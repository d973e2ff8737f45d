"""Where mail programs reach an account: for whoever gives somebody a new one."""

from mailx.config import Config


def client_ports(config: Config) -> list[tuple[str, int]]:
    """What a mail program calls each way, and its port; those that are turned off are left out."""
    ways = [
        ("IMAP, TLS", config.imap.tls_port),
        ("IMAP, STARTTLS", config.imap.port),
        ("POP3, TLS", config.pop3.tls_port),
        ("POP3, STLS", config.pop3.port),
        ("Submission, TLS", config.smtp.submissions_port),
        ("Submission, STARTTLS", config.smtp.submission_port),
    ]
    return [(name, port) for name, port in ways if port]
