"""The control panel: pages for administrators, rendered on the server."""
