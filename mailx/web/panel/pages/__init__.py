"""The pages of the panel, in the order of the navigation: one line for each."""

from mailx.web.panel.dashboard import Dashboard
from mailx.web.panel.page import Page

PAGES: tuple[type[Page], ...] = (Dashboard,)
