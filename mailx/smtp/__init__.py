"""SMTP and LMTP server: octets of a session become envelopes for the reception."""
