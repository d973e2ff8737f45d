"""Hostile commands by the million: a grammar that makes them, what spoils them, and a player that watches the server take them."""
