"""Benchmarks: MailX beside its peers on this machine, in one run.

``make bench-NAME`` shows progress on stderr and ends with one JSON line on stdout. Durability, encryption and
default checks stay on; limits are raised by configuration only.
"""
