"""The webhook receiver: programs post signed JSON, mail goes out."""
