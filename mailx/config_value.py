"""What one value of the configuration must be: the strict reading of numbers, truths, texts, lists and tables.

cattrs would turn ``port = "25"`` into 25 and ``proxy_from = "oops"`` into four letters. Here each type has a hook
that converts nothing and checks the bounds, choices and form declared in :mod:`mailx.config`; what does not
fit raises ``Wrong``, which cattrs collects, so that one reading finds them all.
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from attrs import Attribute, fields
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, override

from mailx.config import allowed, seconds, sections, table
from mailx.mail.address import Address
from mailx.mail.networks import is_address

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9])?"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LARGEST = 2**53  # beyond, JSON's numbers are not exact
_LONGEST = 4096  # characters of a text
_LONGEST_CHOICE = 100  # characters of what may have been meant for one of a few
_MANY = 1000  # values of a list
_HOSTNAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\Z")


class Wrong(ValueError):
    """One value is not what its key allows."""

    def __init__(self, wrong: str, remedy: str) -> None:
        super().__init__(wrong)
        self.wrong = wrong
        self.remedy = remedy


def from_text(attribute: "Attribute[Any]", text: str) -> Any:
    """The text of an environment variable as the value TOML would give; what does not fit stays text and fails later."""
    if attribute.type is str:
        return text
    if attribute.type is bool:
        return {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}.get(
            text.lower(), text
        )
    if attribute.type is int:
        return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text
    if text.lstrip().startswith("["):
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text
    if attribute.type == tuple[str, ...]:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _number(attribute: "Attribute[Any]", value: object, _type: object) -> int:
    least, most = attribute.metadata["least"], attribute.metadata["most"]
    if isinstance(value, bool) or not isinstance(value, int):
        quoted = isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value)
        remedy = f"write {attribute.name} = {value}, without quotes" if quoted else f"for example {attribute.name} = {attribute.default}"
        raise Wrong(f"must be {allowed(attribute)}", remedy)
    if (least is not None and value < least) or abs(value) > (_LARGEST if most is None else most):
        raise Wrong(f"must be {allowed(attribute)}", f"for example {attribute.name} = {attribute.default}")
    return value


def _truth(attribute: "Attribute[Any]", value: object, _type: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"must be {allowed(attribute)}", f"write {attribute.name} = true or {attribute.name} = false, without quotes")
    return value


def _text(attribute: "Attribute[Any]", value: object, _type: object) -> str:
    if not isinstance(value, str):
        example = "..." if attribute.metadata["secret"] else value
        raise Wrong(f"must be {allowed(attribute)}", f'write it in quotes: {attribute.name} = "{example}"')
    choices, form = attribute.metadata["choices"], attribute.metadata["form"]
    if choices and value not in choices:
        close = get_close_matches(value[:_LONGEST_CHOICE], choices, 1)
        raise Wrong(
            f"must be {allowed(attribute)}", f"did you mean {close[0]}?" if close else f'for example {attribute.name} = "{choices[0]}"'
        )
    if len(value) > _LONGEST or _CONTROL.search(value):
        raise Wrong(f"must have at most {_LONGEST} characters, and no control characters", "shorten or mend it")
    if not _fits(form, value):
        example = attribute.default if isinstance(attribute.default, str) and attribute.default else None
        raise Wrong(f"must be {allowed(attribute)}", f'for example {attribute.name} = "{example}"' if example else "mend or remove it")
    if form == "store" and holds_password(value):
        raise Wrong("must not hold a password: it is shown by `mailxctl config show`", "put it into store.password_file")
    return value


def holds_password(value: object) -> bool:
    """Whether ``value`` is a URL with a password in it."""
    return isinstance(value, str) and re.match(r"\w+://([^/?]*:[^/?]*@|.*[?&]\w*password=)", value) is not None


def _texts(attribute: "Attribute[Any]", value: object, _type: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        remedy = f'write {attribute.name} = ["{value}"]' if isinstance(value, str) else f"write {attribute.name} = []"
        raise Wrong(f"must be {allowed(attribute)}", remedy)
    if len(value) > _MANY:
        raise Wrong(f"must have at most {_MANY} values", "shorten it")
    for one in value:
        good = isinstance(one, str) and 0 < len(one) <= _LONGEST and not _CONTROL.search(one)
        if not good or not _fits(attribute.metadata["form"], one):
            raise Wrong(f"must be {allowed(attribute)}", f"mend or remove {str(one)[:80]!r}")
    return tuple(value)


def _tables(attribute: "Attribute[Any]", value: object, _type: object) -> tuple[Any, ...]:
    kind = table(attribute)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        section = next(name for name, owner in sections().items() if attribute in fields(owner))
        raise Wrong(f"must be {allowed(attribute)}", f"write [[{section}.{attribute.name}]] for each")
    return tuple(CONVERTER.structure(value, list[kind]))  # type: ignore[valid-type]


def _fits(form: str, value: str) -> bool:
    """Whether ``value`` is of the form that a setting asks for."""
    match form:
        case "hostname":
            return bool(_HOSTNAME.match(value)) and len(value) <= 255
        case "domain":
            return not value or (bool(_HOSTNAME.match(value)) and len(value) <= 255)
        case "pattern":
            return bool(_HOSTNAME.match(value.removeprefix("*."))) and len(value) <= 255
        case "endpoint":
            return not value or _host(value) is not None
        case "host":
            return not value or is_address(value) or (bool(_HOSTNAME.match(value)) and len(value) <= 255)
        case "url":
            return not value or _is_url(value)
        case "mailbox":
            return _is_mailbox(value)
        case "percent":
            return re.fullmatch(r"[1-9][0-9]?|100", value, re.ASCII) is not None
        case "address":
            return not value or is_address(_host(value) or "")
        case "loopback":
            return not value or (is_address(host := _host(value) or "") and ip_address(host).is_loopback)
        case "duration":
            return _is_duration(value)
        case "interface":
            return is_address(value)
        case "source":
            return not value or is_address(value)
        case "network":
            return _is_network(value)
        case "store":
            return re.match(r"sqlite:.|postgres(ql)?://.", value) is not None
    return True


def _host(value: str) -> str | None:
    """The host of an endpoint: ``mail.example.org:587``, ``127.0.0.1``, ``[::1]:53``; None if it is none."""
    if is_address(value):
        return value
    host, colon, port = value.rpartition(":")
    if not colon:
        host, port = value, "1"
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
        return None
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1] if is_address(host[1:-1]) else None
    return host if _HOSTNAME.match(host) else None


def _is_url(value: str) -> bool:
    """Whether ``value`` is an absolute http or https URL without a password."""
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  (raises for one that is no number)
    except ValueError:
        return False
    plain = value.isascii() and value.isprintable() and " " not in value
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc


def _is_mailbox(value: str) -> bool:
    try:
        return bool(Address.parse(value).domain)
    except ValueError:
        return False


def _is_duration(value: str) -> bool:
    try:
        seconds(value)
    except ValueError:
        return False
    return True


def _is_network(value: str) -> bool:
    try:
        ip_network(value, strict=False)
    except ValueError:
        return False
    return True


_HOOKS: dict[Any, Callable[..., object]] = {
    int: _number,
    bool: _truth,
    str: _text,
    tuple[str, ...]: _texts,
}


def _hooks(kind: type) -> Iterator[tuple[str, Callable[[object, object], object]]]:
    for attribute in fields(kind):
        yield attribute.name, partial(_HOOKS.get(attribute.type, _tables), attribute)


def _converter() -> Converter:
    """A converter that changes no type silently: ``"25"`` is no number, ``"oops"`` is no list."""
    converter = Converter(detailed_validation=True)
    tables = [kind for section in sections().values() for attribute in fields(section) if (kind := table(attribute)) is not None]
    for kind in (*tables, *sections().values()):
        hooks: dict[str, Any] = {name: override(struct_hook=hook) for name, hook in _hooks(kind)}
        converter.register_structure_hook(kind, make_dict_structure_fn(kind, converter, **hooks))
    return converter


CONVERTER = _converter()
