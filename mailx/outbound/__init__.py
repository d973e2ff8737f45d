"""Mail out by SMTP: the client side, directly to the recipients' servers or through smart hosts."""
