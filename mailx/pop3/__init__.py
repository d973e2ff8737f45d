"""POP3: the server's edge, and a client that tries mailboxes on other servers out."""
