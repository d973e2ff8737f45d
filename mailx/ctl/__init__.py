"""``mailxctl``: domains, accounts, aliases, block lists and the configuration, from the command line."""
