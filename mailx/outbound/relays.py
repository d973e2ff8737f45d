"""The couriers of all relays, in step with the settings: those that changed are replaced, and end what they do."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mailx.config import Relay
from mailx.core.courier import ICourier
from mailx.core.routes import DIRECT


class Relays:
    """``couriers`` by the name of their relay, with ``direct`` for what goes through none."""

    def __init__(self, direct: ICourier, make: Callable[[Relay], Any], relays: Iterable[Relay]) -> None:
        self._direct = direct
        self._make = make
        self._made: dict[str, tuple[Relay, Any]] = {}
        self._replaced: list[Any] = []
        self.renew(relays)

    @property
    def couriers(self) -> Mapping[str, ICourier]:
        """All, as the queue takes them."""
        return {DIRECT: self._direct, **{name: courier for name, (_, courier) in self._made.items()}}

    def renew(self, relays: Iterable[Relay]) -> set[str]:
        """Have couriers for ``relays``; the names of those that are new, changed or gone. Call ``retire`` once others are used."""
        before, self._made = self._made, {}
        for relay in relays:
            known = before.get(relay.name)
            self._made[relay.name] = known if known is not None and known[0] == relay else (relay, self._make(relay))
        gone = [courier for name, (_, courier) in before.items() if self._made.get(name, (None, None))[1] is not courier]
        self._replaced += gone
        return {name for name in {*before, *self._made} if before.get(name) is not self._made.get(name)}

    def retire(self) -> None:
        """Those that were replaced end what they do, then their connections."""
        replaced, self._replaced = self._replaced, []
        for courier in replaced:
            courier.retire()
