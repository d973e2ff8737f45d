"""The settings in force: environment over file over database over default, changeable while the server runs.

Who uses settings that are ``live`` keeps the ``Settings`` and reads ``current`` at each use, or is told by ``watch``.
A change is checked as a whole, exactly as the file is, and is durable before it acts; what is refused raises
SettingsError and changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from attrs import fields, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.config import Config, sections

log = Logger()

JSON: TypeAlias = dict[str, "JSON"] | list["JSON"] | str | int | float | bool | None

DEFAULT, DATABASE, FILE, ENVIRONMENT = "default", "database", "file", "environment"
FIXED = (FILE, ENVIRONMENT)


class SettingsError(Exception):
    """A change was refused. ``problems``: for each "section.key" what is wrong and what to do; "" concerns the whole."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("\n".join(f"{key}: {problem}" if key else problem for key, problem in problems.items()))
        self.problems = dict(problems)


@frozen
class Reloaded:
    """What reading file and environment again brought, as sorted "section.key"."""

    changed: tuple[str, ...] = ()  # in force now
    restart: tuple[str, ...] = ()  # changed there, in force after a restart only


class Settings:
    """The settings of one server. Made of a ``Config`` alone they are fixed."""

    def __init__(self, config: Config) -> None:
        self.current = config
        self._watchers: list[tuple[frozenset[str], Callable[[Config], object]]] = []

    def origin(self, key: str) -> str:
        """Where the value of "section.key" comes from: DEFAULT, DATABASE, FILE or ENVIRONMENT; the last two are fixed."""
        section, _, name = key.partition(".")
        attribute = getattr(fields(sections()[section]), name)
        value = getattr(getattr(self.current, section), name)
        return DEFAULT if value == getattr(sections()[section](), attribute.name) else FILE

    def watch(self, wanted: Iterable[str], call: Callable[[Config], object]) -> None:
        """After a change that touched one of these sections ``call(config)``, which may be a coroutine function."""
        self._watchers.append((frozenset(wanted), call))

    async def change(self, values: Mapping[str, JSON]) -> None:
        """Set "section.key" to values as TOML would give them; None: no longer set here. All or nothing, audited.

        Raises SettingsError, Unavailable.
        """
        raise SettingsError(dict.fromkeys(values, "cannot be changed here"))

    async def reload(self) -> Reloaded:
        """Read file and environment again. Raises SettingsError when they are wrong; then all stays as it was."""
        return Reloaded()

    def _apply(self, config: Config) -> list["Deferred[Any]"]:
        """Let ``config`` hold, and tell who watches."""
        before, self.current = self.current, config
        touched = {section for section in sections() if getattr(before, section) != getattr(config, section)}
        told = []
        for wanted, call in self._watchers:
            if wanted & touched:
                told.append(Deferred.fromCoroutine(_told(call, config)).addErrback(_untold))
        return told


async def _told(call: Callable[[Config], Any], config: Config) -> None:
    answer = call(config)
    if answer is not None:
        await answer


def _untold(failure: Failure) -> None:
    log.failure("A change of settings was not applied", failure, event="settings.failed")
