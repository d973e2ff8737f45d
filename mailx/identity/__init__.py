"""Identity: values and arithmetic of keys, signed statements, sealing and the key log. Pure: no I/O, no Twisted, no SQL."""
