"""HTTP edges: the control panel with its admin API, and the webhook receiver."""
