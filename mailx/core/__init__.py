"""The domain: what MailX decides. Knows neither wire bytes nor SQL text."""
