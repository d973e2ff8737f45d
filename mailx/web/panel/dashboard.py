"""The overview: the state of the server on one page."""

from twisted.logger import Logger

from mailx.mail.reply import Unavailable
from mailx.web.panel.cards import CARDS, Card
from mailx.web.panel.page import Page, View, Visit, show

log = Logger()


class Dashboard(Page):
    """Everything that :mod:`mailx.web.panel.cards` has to show."""

    path = "/"
    title = "Overview"
    group = "Overview"

    @show("/")
    async def index(self, visit: Visit) -> View:
        cards: list[Card] = []
        missing = 0
        for make in CARDS:
            try:
                card = await make(self.parts)
            except Unavailable as error:
                log.error("A card of the overview cannot be shown", event="panel.unavailable", path="/", error=error.reason)
                missing += 1
                continue
            if card is not None:
                cards.append(card)
        tiles = [tile for card in cards for tile in card.tiles]
        return View("dashboard.html", {"cards": [card for card in cards if card.template], "tiles": tiles, "missing": missing})
