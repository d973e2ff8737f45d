"""``mailxctl``, the command line of an administrator."""
