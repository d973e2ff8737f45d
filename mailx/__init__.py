"""MailX: a mail system that one person can self-host and an organisation can scale."""

__version__ = "0.1.0"
