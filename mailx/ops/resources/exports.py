"""Exports of mail in the admin API."""

from mailx.core import mail_export
from mailx.core.person_export import Person
from mailx.ops.resources.query import JSON, Query, Streamed, running
from mailx.ops.resources.shape import COUNT, list_of, record, shaped, text


class MailExports:
    """Mail that is written down elsewhere."""

    SCOPE = "directory"
    ROUTES = (("/v1/users/<path:address>/mail", "POST", "export"),)

    def __init__(self, person: Person | None) -> None:
        self._person = person

    @shaped(
        "The mail of an account, as frames; on the server's own socket only.",
        action="user.export_mail",
        body=record(
            after=list_of(record({"mailbox": text(1000, 1), "uidvalidity": COUNT, "uid": COUNT}), 2000),
            password=text(1024, format="password"),
        ),
        gives={"type": "string", "format": "binary"},
    )
    async def export(self, query: Query) -> JSON:
        """``after``: the last messages that are there already; ``password`` is the owner's, of an account whose mail it opens."""
        person = running(self._person, "there is nothing to export from")
        password = query.text("password") if "password" in query.body else ""
        after = {one["mailbox"]: (one["uidvalidity"], one["uid"]) for one in query.body.get("after", ())}
        return Streamed("application/octet-stream", await mail_export.export(person, query.path["address"], after, password))
