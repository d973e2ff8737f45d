"""The settings in force: environment over file over database over default, changeable while the server runs.

Who uses settings that are ``live`` keeps the ``Settings`` and reads ``current`` at each use, or is told by ``watch``.
A change is checked as a whole, exactly as the file is, and is durable before it acts; what is refused raises
SettingsError and changes nothing. Values of other nodes are seen within ``REREAD`` seconds; values in the database that
cannot be used keep the server from starting, and a running one with what it has.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeAlias

from attrs import Attribute, evolve, fields, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.config import Config, allowed, sections
from mailx.config_file import ENVIRONMENT, FILE, ConfigError, Fixed, Problem, Sources
from mailx.core import audit
from mailx.mail.reply import Unavailable
from mailx.store import Store
from mailx.store import settings as rows
from mailx.store.cipher import Cipher, CipherError

__all__ = ["DATABASE", "DEFAULT", "ENVIRONMENT", "FILE", "FIXED", "JSON", "Reloaded", "Settings", "SettingsError", "declared"]

log = Logger()

JSON: TypeAlias = Any

DEFAULT, DATABASE = "default", "database"
FIXED = (FILE, ENVIRONMENT)
REREAD = 30.0  # seconds
_GIVEN_AWAY = "is for another host; give it again together with the host"
_PINNED = "must stand beside its password, which is fixed by {name}; set it there and reload, or remove the password there"
_AGAIN = 5  # times that a change is made anew because somebody else was faster
_LONGEST_KEY = 100  # characters of what may have been meant for a key
_PURPOSE = b"setting"


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
    failed: tuple[str, ...] = ()  # what could not be applied, in words


class Settings:
    """The settings of one server. Made of a ``Config`` alone they are fixed; with a store they are changed over it."""

    def __init__(
        self,
        config: Config,
        sources: Sources | None = None,
        store: Store | None = None,
        cipher: Cipher | None = None,
        reactor: Any = None,
    ) -> None:
        """``sources`` made ``config``; without them nothing of it is fixed."""
        self.current = config
        self.fixed_whole = sources is None and store is None
        self._sources = sources or Sources.of(config)
        self._store = store
        self._cipher = cipher
        self._reactor = reactor
        self._rows: dict[str, bytes] = {}
        self._values: dict[str, JSON] = {}  # of the rows, as TOML gives them
        self._watchers: list[tuple[frozenset[str], Callable[[Config], object]]] = []
        self._also: list[Callable[[], Sequence[str]]] = []
        self._lock = DeferredLock()
        self._timer: Any = None
        self._stopped = False
        self._refused = ""  # what the log says already of settings that cannot be used

    async def load(self) -> None:
        """Read the database's values, once before anything depends on them. Raises ConfigError, Unavailable."""
        if self._store is None:
            return
        self._rows = await self._store.read(rows.rows)
        self._values = self._opened(self._rows)
        self.current = self._mixed(self._over(self._values))

    def start(self) -> None:
        """See from now on what other nodes change."""
        if self._reactor is not None and self._store is not None:
            self._timer = self._reactor.callLater(REREAD, self._tick)

    async def stop(self) -> None:
        """Look no more; returns when what runs is through."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        await self._lock.acquire()
        self._lock.release()

    def origin(self, key: str) -> str:
        """Where the value of "section.key" comes from: DEFAULT, DATABASE, FILE or ENVIRONMENT; the last two are fixed."""
        if self.fixed_whole:
            section, _, name = key.partition(".")
            kind = sections()[section]
            return DEFAULT if getattr(getattr(self.current, section), name) == getattr(kind(), name) else FILE
        fixed = self._sources.fixed.get(key)
        if fixed is not None:
            return fixed.origin
        return DATABASE if key in self._values else DEFAULT

    def fixed_by(self, key: str) -> str:
        """The file or the variable that fixes "section.key"; empty if none does."""
        fixed = self._sources.fixed.get(key)
        return "" if fixed is None else fixed.name

    def watch(self, wanted: Iterable[str], call: Callable[[Config], object]) -> None:
        """After a change that touched one of these sections ``call(config)``, which may be a coroutine function."""
        self._watchers.append((frozenset(wanted), call))

    def reload_also(self, call: Callable[[], Sequence[str]]) -> None:
        """With each ``reload`` also ``call()``, which answers with what went wrong, in words."""
        self._also.append(call)

    async def change(self, values: Mapping[str, JSON]) -> None:
        """Set "section.key" to values as TOML would give them; None: no longer set here. All or nothing, audited.

        Raises SettingsError, Unavailable.
        """
        problems = {key: problem for key, value in values.items() if (problem := self._unchangeable(key) or _unfit(key, value))}
        if problems:
            raise SettingsError(problems)
        await self._lock.acquire()
        try:
            for _ in range(_AGAIN):
                try:
                    await self._change(values)
                    return
                except rows.Overtaken:
                    pass
                try:
                    await self._reread()
                except ConfigError as error:
                    raise SettingsError(_problems(error)) from None
            raise SettingsError({"": "others keep changing settings; try again"})
        finally:
            self._lock.release()

    def tried(self, values: Mapping[str, JSON]) -> Config:
        """What would hold after a change to ``values``, which is not made. Raises SettingsError."""
        following = {key: value for key, value in {**self._values, **values}.items() if value is not None}
        try:
            config = self._mixed(self._sources.over(following))
        except ConfigError as error:
            raise SettingsError(_problems(error)) from None
        if given_away := self._gives_away(config, values):
            raise SettingsError(given_away)
        return config

    async def reload(self) -> Reloaded:
        """Read file and environment again. Raises SettingsError when they are wrong; then all stays as it was."""
        await self._lock.acquire()
        try:
            try:
                sources = self._sources.again()
                config = sources.over(self._values)
            except ConfigError as error:
                log.error("The configuration was not read again: {reason}", event="settings.refused", reason=str(error))
                raise SettingsError(_problems(error)) from None
            restart = [key for key in _different(self.current, config) if not declared(key).metadata["reread"]]
            mixed = self._mixed(config)
            changed = _different(self.current, mixed)
            self._sources = sources
            failed = [*await self._apply(mixed), *[problem for call in self._also for problem in call()]]
        finally:
            self._lock.release()
        log.info("Configuration read again", event="settings.reloaded", changed=changed, restart=restart)
        return Reloaded(tuple(changed), tuple(restart), tuple(failed))

    # One change.

    def _unchangeable(self, key: str) -> str:
        """Why "section.key" cannot be changed here, and what to do; empty: it can."""
        known = {f"{section}.{attribute.name}": attribute for section, kind in sections().items() for attribute in fields(kind)}
        if key not in known:
            close = get_close_matches(key[:_LONGEST_KEY], known, 1)
            return f"is no setting; did you mean {close[0]}?" if close else "is no setting; see the reference of the configuration"
        if self.fixed_whole:
            return "cannot be changed here"
        if not known[key].metadata["live"]:
            return "cannot be changed while the server runs; set it in the configuration file and restart"
        fixed: Fixed | None = self._sources.fixed.get(key)
        if fixed is None:
            return ""
        if fixed.origin == ENVIRONMENT:
            return f"is fixed by the environment variable {fixed.name}; change it there and restart, or unset the variable"
        return f"is fixed by {fixed.name}; change it there and reload, or remove it there"

    async def _change(self, values: Mapping[str, JSON]) -> None:
        """One attempt. Raises SettingsError, Overtaken, Unavailable."""
        wanted = {key: value for key, value in values.items() if (key in self._rows if value is None else value != self._values.get(key))}
        following = {key: value for key, value in {**self._values, **wanted}.items() if value is not None}
        try:
            config = self._mixed(self._sources.over(following))
        except ConfigError as error:
            raise SettingsError(_problems(error)) from None
        if not wanted:
            return
        if given_away := self._gives_away(config, values):
            raise SettingsError(given_away)
        audit.note(target=", ".join(sorted(wanted)), before=_shown(self.current, wanted), after=_shown(config, wanted))
        changes = {key: None if value is None else self._sealed(key, value) for key, value in wanted.items()}
        if self._store is not None:
            await self._store.write(rows.save, self._rows, changes)
        kept = {**self._rows, **changes}
        self._rows = {key: sealed for key, sealed in kept.items() if sealed is not None}
        self._values = following
        log.info("Settings changed", event="settings.changed", keys=sorted(wanted))
        await self._apply(config)

    def _gives_away(self, config: Config, values: Mapping[str, JSON]) -> dict[str, str]:
        """The problem, if a password would go to a host that it was not given for: whoever may change the host must not get it."""
        host = config.smarthost.host
        if not host or host == self.current.smarthost.host or "smarthost.password" in values:
            return {}
        if "smarthost.password" in self._values:
            return {"smarthost.password": _GIVEN_AWAY}
        fixed = self._sources.fixed.get("smarthost.password")
        return {} if fixed is None else {"smarthost.host": _PINNED.format(name=fixed.name)}

    def _sealed(self, key: str, value: JSON) -> bytes:
        plain = json.dumps(value).encode()
        return plain if self._cipher is None else self._cipher.seal(_PURPOSE, key.encode(), plain)

    def _opened(self, stored: Mapping[str, bytes]) -> dict[str, JSON]:
        """The values of rows; those that this version does not know, or does not keep there, are left alone. Raises ConfigError."""
        values: dict[str, JSON] = {}
        problems = []
        for key, sealed in stored.items():
            section, _, name = key.partition(".")
            attribute = next((one for one in fields(sections()[section]) if one.name == name), None) if section in sections() else None
            if attribute is None or not attribute.metadata["live"]:
                log.warn("The database has a setting that is not known here: {key}", event="settings.unknown", key=key)
                continue
            try:
                values[key] = json.loads(sealed if self._cipher is None else self._cipher.open(_PURPOSE, key.encode(), sealed))
            except (CipherError, ValueError):
                problems.append(Problem("database", key, "", "does not open", f"set it again, or `mailxctl config unset {key}`"))
        if problems:
            raise ConfigError(problems)
        return values

    def _over(self, values: Mapping[str, JSON]) -> Config:
        """File, environment and ``values`` together. Raises ConfigError, which says how to get rid of a value."""
        try:
            return self._sources.over(values)
        except ConfigError as error:
            left = {key: self._wrong_without(key, values) for key in values if key not in self._sources.fixed}
            raise ConfigError([_remedied(each, left) for each in error.problems]) from None

    def _wrong_without(self, key: str, values: Mapping[str, JSON]) -> set[tuple[str, str]]:
        """What is wrong with the rest of ``values``: key and problem."""
        try:
            self._sources.over({other: value for other, value in values.items() if other != key})
        except ConfigError as error:
            return {(each.key, each.wrong) for each in error.problems}
        return set()

    def _mixed(self, config: Config) -> Config:
        """``config``, but what needs a restart is as it is."""
        mixed = {}
        for section, kind in sections().items():
            new = getattr(config, section)
            taken = {attribute.name: getattr(new, attribute.name) for attribute in fields(kind) if attribute.metadata["reread"]}
            mixed[section] = evolve(getattr(self.current, section), **taken)
        return evolve(self.current, **mixed)

    # What others changed.

    def _tick(self) -> None:
        self._timer = None
        Deferred.fromCoroutine(self._look()).addErrback(self._not_looked).addBoth(lambda _: self._again())

    def _again(self) -> None:
        if not self._stopped:
            self._timer = self._reactor.callLater(REREAD, self._tick)

    async def _look(self) -> None:
        """What cannot be used is logged once and left alone."""
        await self._lock.acquire()
        try:
            if not self._stopped:
                await self._reread()
                self._refused = ""
        except ConfigError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                log.error("Settings in the database cannot be used: {reason}", event="settings.refused", reason=str(error))
        finally:
            self._lock.release()

    def _not_looked(self, failure: Failure) -> None:
        if failure.check(Unavailable) is None:
            log.failure("The settings were not read", failure, event="settings.failed")

    async def _reread(self) -> None:
        """Apply what the database has by now. Raises ConfigError, Unavailable."""
        assert self._store is not None
        stored = await self._store.read(rows.rows)
        if stored == self._rows:
            return
        values = self._opened(stored)
        config = self._mixed(self._over(values))
        self._rows, self._values = stored, values
        await self._apply(config)

    async def _apply(self, config: Config) -> Sequence[str]:
        """Let ``config`` hold, and tell who watches; what those say that could not be applied."""
        before, self.current = self.current, config
        touched = {section for section in sections() if getattr(before, section) != getattr(config, section)}
        failed: list[str] = []
        with audit.apart():  # what follows from a change is no part of it
            told = [Deferred.fromCoroutine(_told(call, config, failed)) for wanted, call in self._watchers if wanted & touched]
        for each in told:
            await each
        return failed


async def _told(call: Callable[[Config], Any], config: Config, failed: list[str]) -> None:
    try:
        answer = call(config)
        if answer is not None:
            await answer
    except SettingsError as error:
        failed.append(str(error))
        log.error("A change of settings was not applied: {reason}", event="settings.refused", reason=str(error))
    except Exception:
        failed.append("A change could not be applied; the log has the reason.")
        log.failure("A change of settings was not applied", event="settings.failed")


def _unfit(key: str, value: JSON) -> str:
    """What is wrong with the kind of value that no setting takes; empty: nothing."""
    flat = value is None or isinstance(value, (str, int))
    if flat or (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        return ""
    return f"must be {allowed(declared(key))}; give that"


def declared(key: str) -> "Attribute[Any]":
    """The declaration of "section.key"."""
    section, _, name = key.partition(".")
    found: Attribute[Any] = getattr(fields(sections()[section]), name)
    return found


def _different(one: Config, other: Config) -> list[str]:
    """The keys whose values differ."""
    return [
        f"{section}.{attribute.name}"
        for section, kind in sections().items()
        for attribute in fields(kind)
        if getattr(getattr(one, section), attribute.name) != getattr(getattr(other, section), attribute.name)
    ]


def _shown(config: Config, keys: Iterable[str]) -> dict[str, JSON]:
    """Their values without secrets."""
    shown = {}
    for key in sorted(keys):
        section, _, name = key.partition(".")
        value = getattr(getattr(config, section), name)
        shown[key] = audit.HIDDEN if value and declared(key).metadata["secret"] else value
    return shown


def _remedied(problem: Problem, left: Mapping[str, set[tuple[str, str]]]) -> Problem:
    """``problem`` with the key of the database that is to be unset; ``left`` is what stays wrong without each of them."""
    keys = [key for key, wrong in left.items() if (problem.key, problem.wrong) not in wrong]
    if not keys:
        return problem
    key = problem.key if problem.key in keys else keys[0]
    return evolve(problem, source="database", remedy=f"{problem.remedy}; or `mailxctl config unset {key}`")


def _problems(error: ConfigError) -> dict[str, str]:
    """The problems by key; of several of one key the first."""
    found: dict[str, str] = {}
    for each in error.problems:
        found.setdefault(each.key, f"{each.wrong}; {each.remedy}")
    return found
