"""Reads the configuration: the TOML file, then the environment, into the classes of :mod:`mailx.config`.

Every key may be overridden by ``MAILX_SECTION__KEY``. Whatever is wrong is found in one reading: ``ConfigError``
carries all problems, each with the file or variable, the key, its value, what is allowed and the remedy. ``Sources``
remembers what file and environment set, and puts the values that administrators keep in the database below them.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from attrs import evolve, fields, frozen, has
from cattrs import AttributeValidationNote, BaseValidationError, IterableValidationNote

from mailx.config import VARIABLE_PREFIX, Config, sections, table, variable
from mailx.config_value import CONVERTER, Wrong, from_text, holds_password
from mailx.config_whole import check, check_files

DEFAULT_NAME = "mailx.toml"

FILE, ENVIRONMENT = "file", "environment"

Raw = dict[str, Any]


@frozen
class Problem:
    """One thing that is wrong. ``source`` is the file or the environment variable, ``value`` as it was given."""

    source: str
    key: str
    value: str
    wrong: str
    remedy: str

    def __str__(self) -> str:
        given = " = ".join(part for part in (self.key, self.value) if part)
        return ": ".join(part for part in (self.source, given, f"{self.wrong}; {self.remedy}") if part)


class ConfigError(Exception):
    """The configuration cannot be used. ``problems`` holds all that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def find(option: str | None) -> Path | None:
    """The file to read: ``option``, else ``mailx.toml`` of the working directory if there is one, else none."""
    if option:
        return Path(option).absolute()
    default = Path(DEFAULT_NAME).absolute()
    return default if default.exists() else None


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration in the file ``path`` (None: defaults only) with the overrides of ``environ``.

    All paths in the result are absolute and secrets are read from their files. Raises ConfigError.
    """
    return Sources(path, environ).config


@frozen
class Fixed:
    """A setting that no administrator changes while the server runs. ``name`` is that of the file or the variable."""

    origin: str  # FILE or ENVIRONMENT
    name: str


class Sources:
    """File and environment, as they were read at one time. Raises ConfigError when something is wrong with them.

    ``config`` is what they and the defaults make, ``fixed`` tells for each "section.key" that they set which of them did.
    """

    def __init__(self, path: Path | None, environ: Mapping[str, str], base: Path | None = None) -> None:
        """Relative paths start at the directory of the file, without one at ``base``: the working directory."""
        self.path = path
        self._environ = {name: value for name, value in environ.items() if name.startswith(VARIABLE_PREFIX)}
        self._base: Path | None = (path.parent if path else base or Path.cwd()).absolute()
        problems: list[Problem] = []
        raw = _read(path, problems)
        reading = _Reading(str(path) if path else "defaults", raw, problems)
        reading.drop_unknown()
        written = {f"{section}.{name}" for section, given in raw.items() for name in given}
        reading.override(self._environ)
        self._raw = deepcopy(raw)
        self._secrets: dict[str, str] = {}  # by the path of the file; a running server may have lost the right to read them
        self.config = _finished(reading, self._base, self._secrets)
        check_files(self.config, reading.problem)
        if problems:
            raise ConfigError(problems)
        self.fixed = {key: Fixed(FILE, str(path)) for key in written}
        self.fixed.update({key: Fixed(ENVIRONMENT, name) for key, name in reading.variables.items()})
        self._fix_secrets()

    @classmethod
    def of(cls, config: Config) -> "Sources":
        """Sources of which nothing is fixed, and which make ``config``."""
        sources = cls.__new__(cls)
        sources.path, sources._environ, sources._base, sources._secrets = None, {}, None, {}
        sources.config, sources.fixed, sources._raw = config, {}, _raw(config)
        return sources

    def again(self) -> "Sources":
        """The same file and environment, read now; a default file that was made since is found. Raises ConfigError."""
        if self._base is None:
            return self
        default = self._base / DEFAULT_NAME
        return Sources(self.path or (default if default.exists() else None), self._environ, self._base)

    def over(self, values: Mapping[str, Any]) -> Config:
        """What comes out when ``values`` ("section.key" -> as TOML gives it) hold where nothing is fixed. Raises ConfigError."""
        problems: list[Problem] = []
        reading = _Reading("settings", deepcopy(self._raw), problems)
        for key, value in values.items():
            section, _, name = key.partition(".")
            if key not in self.fixed:
                reading.raw.setdefault(section, {})[name] = deepcopy(value)
        reading.drop_unknown()
        config = _finished(reading, self._base, self._secrets)
        if problems:
            raise ConfigError(problems)
        return config

    def _fix_secrets(self) -> None:
        """Who names the file of a secret sets the secret."""
        for section, kind in sections().items():
            for attribute in fields(kind):
                file = f"{section}.{attribute.name}_file"
                if attribute.metadata["secret"] and file in self.fixed and getattr(getattr(self.config, section), f"{attribute.name}_file"):
                    self.fixed.setdefault(f"{section}.{attribute.name}", self.fixed[file])


def _finished(reading: "_Reading", base: Path | None, secrets: dict[str, str]) -> Config:
    """The Config of what was read, checked as a whole; problems are noted in ``reading``. ``base`` None: its paths are as they are."""
    config = reading.structure()
    config = _with_all_secrets(config if base is None else _absolute(config, base), reading, secrets)
    check(config, reading.problem, reading.wrong)
    return config


def _raw(value: Any) -> Any:
    """``value`` (a Config, a section, a setting) as TOML gives it, without what is as by default."""
    if isinstance(value, tuple):
        return [_raw(one) for one in value]
    if not has(type(value)):
        return value
    plain = type(value)()
    kept = {}
    for attribute in fields(type(value)):
        one = getattr(value, attribute.name)
        if one != getattr(plain, attribute.name):
            kept[attribute.name] = _raw(one)
    return kept


def _read(path: Path | None, problems: list[Problem]) -> Raw:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(Problem(str(path), "", "", f"cannot be read ({error.strerror})", "name an existing file with --config"))
    except UnicodeDecodeError:
        problems.append(Problem(str(path), "", "", "is not UTF-8 text", "save the file as UTF-8"))
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem(str(path), "", "", f"is not TOML: {error}", "mend that line"))
    return {}


class _Reading:
    """One reading of the configuration: the raw tables, where each value came from, and what was wrong so far."""

    def __init__(self, source: str, raw: Raw, problems: list[Problem]) -> None:
        self.source = source
        self.raw = raw
        self.problems = problems
        self.variables: dict[str, str] = {}  # "section.key" -> environment variable
        self.wrong: set[str] = set()  # keys that have a problem already

    def problem(self, key: str, value: object, wrong: str, remedy: str) -> None:
        """Note that ``key`` (``section.name``) is wrong."""
        self.wrong.add(key)
        source = self.variables.get(key, self.source)
        self.problems.append(Problem(source, key, "" if value is None else _shown(key, value), wrong, remedy))

    def drop_unknown(self) -> None:
        """Report and remove the sections and keys that do not exist."""
        known = sections()
        for section, given in list(self.raw.items()):
            if section not in known:
                self._unknown(section, section, "unknown section", list(known))
                del self.raw[section]
            elif not isinstance(given, dict):
                self.problem(section, given, "must be a table of settings", f"write [{section}] on a line of its own")
                del self.raw[section]
            else:
                self._drop_unknown_keys(section, section, known[section], given)

    def _drop_unknown_keys(self, where: str, section: str, kind: type, given: Raw) -> None:
        known = {attribute.name: attribute for attribute in fields(kind)}
        for name, value in list(given.items()):
            if name not in known:
                self._unknown(f"{where}.{name}", name, "unknown key", list(known))
                del given[name]
            elif (inner := table(known[name])) is not None and isinstance(value, list):
                for place, one in enumerate(value):
                    if isinstance(one, dict):
                        self._drop_unknown_keys(f"{where}.{name}[{place}]", section, inner, one)

    def _unknown(self, key: str, name: str, wrong: str, names: list[str]) -> None:
        close = get_close_matches(name, names, 1)
        elsewhere = [section for section, kind in sections().items() if name in (attribute.name for attribute in fields(kind))]
        if elsewhere and "." in key:
            remedy = f"it belongs to [{'] or ['.join(elsewhere)}]"
        elif close:
            remedy = f"did you mean {close[0]}?"
        else:
            remedy = f"remove it, or use one of {', '.join(names)}"
        self.problem(key, None, wrong, remedy)

    def override(self, environ: Mapping[str, str]) -> None:
        """Put the values of ``MAILX_SECTION__KEY`` over those of the file."""
        keys = {
            variable(section, attribute.name): (section, attribute) for section, kind in sections().items() for attribute in fields(kind)
        }
        for name in sorted(environ):
            if not name.startswith(VARIABLE_PREFIX) or "__" not in name:
                continue
            if name not in keys:
                close = get_close_matches(name, keys, 1)
                remedy = f"did you mean {close[0]}?" if close else "remove it"
                self.problems.append(Problem(name, "", "", "names no setting", remedy))
                continue
            section, attribute = keys[name]
            self.variables[f"{section}.{attribute.name}"] = name
            self.raw.setdefault(section, {})[attribute.name] = from_text(attribute, environ[name])

    def structure(self) -> Config:
        """The raw tables as a Config; a wrong value is reported and its default taken."""
        try:
            return CONVERTER.structure(self.raw, Config)
        except BaseValidationError as error:
            for keys, cause in _causes(error, ()):
                value = self._take(keys)
                key = _dotted(keys)
                if not isinstance(cause, Wrong):
                    cause = Wrong("cannot be read", "see the reference")
                variable_name = self.variables.get(key)
                remedy = f"set {variable_name} to {cause.wrong.removeprefix('must be ')}" if variable_name else cause.remedy
                self.problem(key, value, cause.wrong, remedy)
            self._drop(self.wrong)
            return CONVERTER.structure(self.raw, Config)

    def _take(self, keys: tuple[str | int, ...]) -> object:
        value: Any = self.raw
        for key in keys:
            value = value[key]
        return value

    def _drop(self, wrong: set[str]) -> None:
        for dotted in wrong:
            section, _, name = dotted.partition(".")
            self.raw.get(section, {}).pop(re.split(r"[.\[]", name)[0], None)


def _shown(key: str, value: object) -> str:
    section, _, name = key.partition(".")
    kind: Any = sections().get(section)
    for part in re.sub(r"\[[0-9]+\]", "", name).split("."):
        attribute = next((one for one in fields(kind) if one.name == part), None) if kind is not None else None
        if attribute is not None and attribute.metadata["secret"]:
            return "(hidden)"
        kind = table(attribute) if attribute is not None else None
    if kind is not None:  # tables, which may hold secrets
        return ""
    if holds_password(value):
        return "(hidden)"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _dotted(keys: tuple[str | int, ...]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")


def _causes(error: BaseException, keys: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], BaseException]]:
    """The single causes inside what cattrs raised, each with the path of keys that leads to it."""
    if not isinstance(error, BaseValidationError):
        yield keys, error
        return
    for inner in error.exceptions:
        place: tuple[str | int, ...] = ()
        for note in getattr(inner, "__notes__", ()):
            if isinstance(note, AttributeValidationNote):
                place = (note.name,)
            elif isinstance(note, IterableValidationNote):
                place = (note.index,) if isinstance(note.index, int) else ()
        yield from _causes(inner, keys + place)


def _absolute(config: Config, base: Path) -> Config:
    """``config`` with every path absolute: relative ones start at ``base``, data paths at the data directory."""
    data = base / config.server.data

    def resolve(section: Any) -> Any:
        changes: Raw = {}
        for attribute in fields(type(section)):
            value = getattr(section, attribute.name)
            form = attribute.metadata["form"]
            if form in ("path", "data path") and value:
                changes[attribute.name] = str((base if form == "path" else data) / value)
            elif form == "store" and value.startswith("sqlite:") and value != "sqlite::memory:":
                changes[attribute.name] = f"sqlite:{data / value.removeprefix('sqlite:')}"
            elif isinstance(value, tuple) and value and has(type(value[0])):
                changes[attribute.name] = tuple(resolve(one) for one in value)
        return evolve(section, **changes)

    return evolve(config, **{name: resolve(getattr(config, name)) for name in sections()})


def _with_all_secrets(config: Config, reading: _Reading, read: dict[str, str]) -> Config:
    """``config`` with the secrets from files: ``password_file`` fills ``password``. ``read`` holds those that were read."""
    return evolve(config, **{name: _with_secrets(getattr(config, name), name, reading, read) for name in sections()})


def _with_secrets(section: Any, where: str, reading: _Reading, read: dict[str, str]) -> Any:
    """One section or table with the secrets that come from files."""
    changes: Raw = {}
    for attribute in fields(type(section)):
        value = getattr(section, attribute.name)
        if table(attribute) is not None:
            tables = [_with_secrets(one, f"{where}.{attribute.name}[{place}]", reading, read) for place, one in enumerate(value)]
            changes[attribute.name] = tuple(tables)
        path = getattr(section, f"{attribute.name}_file", "") if attribute.metadata["secret"] else ""
        if not path:
            continue
        key = f"{where}.{attribute.name}_file"
        if value:
            reading.problem(key, path, f"and {attribute.name} are both set", "keep one of the two")
            continue
        try:
            if path not in read:
                read[path] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
            changes[attribute.name] = read[path]
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            reading.problem(key, path, f"cannot be read ({reason})", "name a file that this user may read")
    return evolve(section, **changes)
