"""POP3 as a client: mailboxes on other servers."""
