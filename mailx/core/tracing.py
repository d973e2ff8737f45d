"""Whether the debug lines of every command and every quota are worth making: true while the log's level is ``debug``."""

from attrs import define


@define(eq=False)
class Tracing:
    """A truth that changes with the setting; who is given it asks ``if tracing`` each time."""

    on: bool = False

    def __bool__(self) -> bool:
        return self.on
