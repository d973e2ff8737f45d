"""Makes ``mailx`` a subcommand of ``twistd``."""

from twisted.application.service import ServiceMaker

mailx = ServiceMaker("MailX", "mailx.tap", "A mail system: SMTP in, IMAP out, everything encrypted at rest.", "mailx")
