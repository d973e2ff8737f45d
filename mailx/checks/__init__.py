"""Checks of mail that comes in: SPF, DKIM, DMARC, ARC, viruses. Each is a policy that the reception asks."""
