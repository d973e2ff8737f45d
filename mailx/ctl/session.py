"""One run of ``mailxctl``: its configuration, its way to the server, and how it says what went wrong.

Every error has a remedy, goes to stderr (as JSON under ``--json``) and ends the run with status 1; status 2 is a wrong
command line.
"""

import json
import os
from collections.abc import Mapping
from typing import IO, Any

import click
from attrs import define, field

from mailx import config_file
from mailx.config import Config
from mailx.config_file import Sources
from mailx.ctl.client import Client, NoServer, SocketClient


class Failed(click.ClickException):
    """The run cannot go on. ``code`` is for programs, ``text`` and ``remedy`` for people."""

    def __init__(self, code: str, text: str, remedy: str = "", *, as_json: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.remedy = remedy
        self.as_json = as_json

    def show(self, file: IO[Any] | None = None) -> None:
        if self.as_json:
            error = {"code": self.code, "message": self.message, "remedy": self.remedy}
            click.echo(json.dumps({"error": error}), file=file, err=True)
        else:
            click.echo(f"Error: {self.message}", file=file, err=True)
            if self.remedy:
                click.echo(f"Remedy: {self.remedy}", file=file, err=True)


@define
class Session:
    """What the options say, and what they lead to, found when it is first needed."""

    config_option: str | None = None
    as_json: bool = False
    environ: Mapping[str, str] = field(factory=lambda: dict(os.environ), repr=False)
    _sources: Sources | None = field(default=None, init=False, repr=False)
    _client: Client | None = field(default=None, init=False, repr=False)

    @property
    def config(self) -> Config:
        """The configuration of file and environment."""
        return self.sources.config

    @property
    def sources(self) -> Sources:
        """File and environment, as the server reads them."""
        if self._sources is None:
            try:
                self._sources = Sources(config_file.find(self.config_option), self.environ)
            except config_file.ConfigError as error:
                problems = "\n".join(f"  {problem}" for problem in error.problems)
                raise self.failed("config", f"the configuration cannot be used:\n{problems}", "Mend what is listed.") from None
        return self._sources

    def call(self, method: str, path: str, parameters: Mapping[str, object] | None = None, body: Any = None) -> Any:
        """Ask the admin API; returns the JSON of its answer."""
        if self._client is None:
            self._client = self._connect()
        texts = {name: str(value) for name, value in (parameters or {}).items() if value is not None}
        status, answer = self._client.call(method, path, texts, body)
        if status != 200:
            error = answer.get("error", {})
            raise self.failed(error.get("code", "internal"), error.get("message", f"status {status}"), error.get("remedy", ""))
        return answer

    def stream(self, method: str, path: str, parameters: Mapping[str, object] | None = None, body: Any = None) -> Any:
        """As ``call``, where the answer is octets: something to read them from; reading raises EOFError where they break off."""
        if self._client is None:
            self._client = self._connect()
        texts = {name: str(value) for name, value in (parameters or {}).items() if value is not None}
        status, answer = self._client.stream(method, path, texts, body)
        if status != 200:
            error = answer.get("error", {})
            raise self.failed(error.get("code", "internal"), error.get("message", f"status {status}"), error.get("remedy", ""))
        return answer

    def _connect(self) -> Client:
        path = self.config.admin.socket
        client: Client = SocketClient(path)
        try:
            client.open()
        except PermissionError:
            remedy = "Run mailxctl as the user that runs the server."
            raise self.failed("denied", f"the admin socket {path} may not be opened", remedy) from None
        except NoServer:
            # Twisted and the store take a third of a second to import: only who needs them waits for them.
            from mailx.ctl.local import LocalClient, Unopened

            client = LocalClient(self.sources)
            try:
                client.open()
            except Unopened as error:
                raise self.failed("no_server", str(error), error.remedy) from None
            if not self.as_json:
                click.echo("No server is running: the database itself was opened.", err=True)
        return client

    @property
    def served(self) -> bool:
        """Whether a running server answers, not the database itself."""
        return isinstance(self._client, SocketClient)

    def close(self) -> None:
        """Let the server, or the database, go."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def confirm(self, question: str, otherwise: str) -> None:
        """Ask; anything but yes ends the run, which says ``otherwise``."""
        try:
            agreed = click.confirm(question, err=True)
        except click.Abort:
            click.echo(err=True)
            agreed = False
        if not agreed:
            raise self.failed("not_confirmed", otherwise, "Answer y, or give --yes.")

    def failed(self, code: str, text: str, remedy: str = "") -> Failed:
        """The exception that ends the run."""
        name = set(".@") & set(text.split(" ", 1)[0])  # which keeps its letters
        return Failed(code, text if name else text[:1].upper() + text[1:], remedy, as_json=self.as_json)

    def say(self, answer: Any, *lines: str) -> None:
        """Print ``answer`` under ``--json``, otherwise the ``lines``."""
        if self.as_json:
            click.echo(json.dumps(answer, ensure_ascii=False))
        else:
            for line in lines:
                click.echo(line)


pass_session = click.make_pass_decorator(Session, ensure=True)


def _set_json(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).as_json = True


def _set_config(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Session).config_option = value


def options() -> list[click.Parameter]:
    """The options that every command has, so that they may stand before it or behind it."""
    return [
        click.Option(["--json"], is_flag=True, expose_value=False, callback=_set_json, help="Answer in JSON."),
        click.Option(
            ["--config"],
            metavar="FILE",
            expose_value=False,
            callback=_set_config,
            help="Configuration file; default: mailx.toml here, if there is one.",
        ),
    ]


class Command(click.Command):
    """A command with the options that every command has."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params += options()


class Group(click.Group):
    """A group whose commands have the options that every command has."""

    command_class = Command
    group_class = type
