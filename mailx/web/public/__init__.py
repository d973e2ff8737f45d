"""The public site over HTTPS: who our domains are, their key logs, and the keys of their users."""
