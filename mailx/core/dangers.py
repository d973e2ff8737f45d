"""What settings allow although it leaves mail, passwords or the server open to others: said in red, and by ``mailxctl config check``."""

from collections.abc import Iterator

from attrs import frozen

from mailx.config import Config, is_loopback

_SHORT = 16  # characters below which a shared secret can be guessed


@frozen
class Danger:
    """One unsafe setting: its "section.key", its value in words and what follows from it."""

    key: str
    value: str
    text: str

    def __str__(self) -> str:
        return f"{self.key} = {self.value}: {self.text}" if self.value else f"{self.key}: {self.text}"


def dangers(config: Config) -> Iterator[Danger]:
    """Every setting of ``config`` that is allowed, but unsafe."""
    yield from _mail_out(config)
    if config.imap.plaintext_login:
        yield Danger("imap.plaintext_login", "true", "passwords may be sent without TLS.")
    if config.pop3.plaintext_login:
        yield Danger("pop3.plaintext_login", "true", "passwords may be sent without TLS.")
    yield from _webhook(config)
    yield from _short("alerts.secret", config.alerts.secret)
    panel = config.panel
    if panel.port and not panel.tls and not panel.proxies and not is_loopback(panel.interface):
        yield Danger("panel.interface", panel.interface, "the panel is reached by others, and unencrypted.")


def _mail_out(config: Config) -> Iterator[Danger]:
    if config.outbound.tls == "off":
        yield Danger("outbound.tls", "off", "all mail to the recipients' servers goes unencrypted.")
    for place, relay in enumerate(config.outbound.relays):
        key = f"outbound.relays[{place}] ({relay.name})"
        if relay.security == "plain":
            yield Danger(key, "", f"the {'password' if relay.username else 'mail'} goes unencrypted.")
        elif not relay.verify:
            yield Danger(key, "", "the certificate is not checked, so anybody on the way can read mail and password.")
    smarthost = config.smarthost
    if smarthost.host and smarthost.security == "plain":
        yield Danger("smarthost.security", "plain", f"the {'password' if smarthost.username else 'mail'} goes unencrypted.")
    elif smarthost.host and not smarthost.verify:
        yield Danger("smarthost.verify", "false", "the certificate is not checked, so anybody on the way can read mail and password.")


def _webhook(config: Config) -> Iterator[Danger]:
    webhook = config.webhook
    if not webhook.port:
        return
    if not webhook.signature:
        yield Danger("webhook.signature", "false", "whoever reaches the port sends mail in your name.")
    yield from _short("webhook.secret", webhook.secret)
    yield from _short("webhook.callback_secret", webhook.callback_secret)


def _short(key: str, secret: str) -> Iterator[Danger]:
    if 0 < len(secret) < _SHORT:
        yield Danger(key, "", f"a secret of less than {_SHORT} characters can be guessed; make one with `openssl rand -hex 32`.")
