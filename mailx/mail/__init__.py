"""Values of mail: addresses, envelopes, replies, messages. Pure: no I/O, no Twisted, no SQL."""
