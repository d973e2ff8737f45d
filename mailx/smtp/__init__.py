"""The SMTP and LMTP edge: bytes from the network become envelopes for :mod:`mailx.core.reception`."""
