"""The composition root: reads as an inventory of the server."""
