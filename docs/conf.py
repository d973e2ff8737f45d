"""Sphinx configuration."""

from mailx import __version__

project = "MailX"
copyright = "The MailX authors"
version = release = __version__
root_doc = "index"
exclude_patterns = ["_build", "changes"]
html_theme = "alabaster"
html_static_path: list[str] = []
