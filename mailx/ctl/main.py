"""``mailxctl``: the entry point and its groups of commands."""

import click

from mailx import __version__
from mailx.ctl import output
from mailx.ctl.admins import admin
from mailx.ctl.aliases import alias
from mailx.ctl.api_keys import apikey
from mailx.ctl.app_passwords import app_password, recovery_code, renew_keys
from mailx.ctl.audit import audit
from mailx.ctl.block_lists import blocklist
from mailx.ctl.blocks import block
from mailx.ctl.configuration import config
from mailx.ctl.contacts import contact
from mailx.ctl.dkim import dkim
from mailx.ctl.dns import dns
from mailx.ctl.domains import domain
from mailx.ctl.exports import export
from mailx.ctl.imports import import_
from mailx.ctl.index import index
from mailx.ctl.keys import key
from mailx.ctl.lives import lifecycle
from mailx.ctl.peers import peer
from mailx.ctl.queue import queue
from mailx.ctl.sealing import seal
from mailx.ctl.session import Group, Session, options, pass_session
from mailx.ctl.suppressions import suppression
from mailx.ctl.trace import trace
from mailx.ctl.users import user


@click.group(cls=Group, params=options())
@click.version_option(__version__, prog_name="mailxctl")
@click.pass_context
def main(context: click.Context) -> None:
    """Administer MailX: through the running server, or in its database when no server runs."""
    context.call_on_close(context.ensure_object(Session).close)


@main.command()
@pass_session
def status(session: Session) -> None:
    """Show version, host name, and how much there is."""
    answer = session.call("GET", "/v1/status")
    count = answer["accounts"]
    session.say(
        answer,
        f"MailX {answer['version']} on {answer['hostname']}: {count} account{'s' * (count != 1)}, {output.size(answer['used'])} of mail.",
    )


for group in (user, domain, alias, contact, block, blocklist, queue, dkim, key, peer, config, index, suppression, admin, apikey, lifecycle):
    main.add_command(group)
main.add_command(import_)
main.add_command(export)
main.add_command(dns)
main.add_command(trace)
main.add_command(audit)
user.add_command(seal)
user.add_command(app_password)
user.add_command(recovery_code)
user.add_command(renew_keys)

if __name__ == "__main__":
    main()
