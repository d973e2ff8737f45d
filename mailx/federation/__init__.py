"""The federation edge: MailX servers deliver to each other over mutual TLS, proved by the keys of their domains."""
