"""The pages of the panel, in the order of the navigation: one line for each."""

from mailx.web.panel.dashboard import Dashboard
from mailx.web.panel.page import Page
from mailx.web.panel.pages.calls import Calls
from mailx.web.panel.pages.suppressions import Suppressions

PAGES: tuple[type[Page], ...] = (
    Dashboard,
    Calls,
    Suppressions,
)
