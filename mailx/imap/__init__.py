"""The IMAP edge: commands become calls of :mod:`mailx.core.mailboxes`, its answers become responses."""
