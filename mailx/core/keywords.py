"""The names of an account's flags, as its sessions share them in memory."""

from collections.abc import Mapping

from mailx.mail.mailbox import KEYWORD_BIT, SYSTEM_FLAGS

_SYSTEM = (1 << KEYWORD_BIT) - 1
_REMEMBERED = 4096  # combinations of flags whose names are kept


class Keywords:
    """Bit <-> name for one account. Read again whenever a bit without a name is seen."""

    def __init__(self) -> None:
        self._read = 0
        self._spelled: dict[int, tuple[str, ...]] = {}
        self._replace({})

    def put(self, read: int, names: Mapping[int, str]) -> None:
        """What read number ``read`` found; an older read than the last one tells nothing."""
        if read > self._read:
            self._read = read
            if names != self._names:
                self._replace(dict(names))

    def learn(self, bit: int, name: str) -> None:
        """A keyword that was just given ``bit``."""
        if bit not in self._names:
            self._replace({**self._names, bit: name})

    def known(self, flags: int) -> bool:
        return not flags & ~self._known

    def names(self) -> list[str]:
        """Every keyword, in the order of their bits."""
        return list(self._names.values())

    def mask(self, name: str) -> int:
        """The bit of a system flag or keyword, whatever its case; 0 if there is none of that name."""
        return self._bits.get(name.casefold(), 0)

    def spell(self, flags: int) -> tuple[str, ...]:
        """The names of the bits in ``flags``, system flags first."""
        names = self._spelled.get(flags)
        if names is None:
            if len(self._spelled) >= _REMEMBERED:
                self._spelled.clear()
            system = [name for name, flag in SYSTEM_FLAGS.items() if flags & flag]
            names = self._spelled[flags] = (*system, *[name for bit, name in self._names.items() if flags >> bit & 1])
        return names

    def _replace(self, names: dict[int, str]) -> None:
        self._names = dict(sorted(names.items()))
        self._bits = {name.casefold(): int(flag) for name, flag in SYSTEM_FLAGS.items()}
        self._bits |= {name.casefold(): 1 << bit for bit, name in names.items()}
        self._known = _SYSTEM | sum(1 << bit for bit in names)
        self._spelled.clear()
