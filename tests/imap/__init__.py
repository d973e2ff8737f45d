"""Tests of the IMAP edge."""
