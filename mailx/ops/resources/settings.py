"""The settings that change while the server runs, in the admin API: list them, change them, read the configuration again.

A secret's value is never given out. What the file or the environment fixes is refused, with the name of the one that does.
"""

from mailx.config import Config
from mailx.core.setting_list import described, items
from mailx.core.settings import Settings, SettingsError
from mailx.core.users import DirectoryError
from mailx.ops.resources.query import JSON, Query, running
from mailx.ops.resources.shape import FLAG, TEXT, Schema, list_of, record, shaped, text

_KEY = text(100)


def _values() -> Schema:
    """Every setting that may be changed, with what it takes in words: the settings check values, all of them, and say more."""
    every = items(Settings(Config()))
    described = {key: {"description": f"{item.help} {item.allowed}; null takes back what was set here."} for key, item in every.items()}
    return {"type": "object", "properties": described, "minProperties": 1, "maxProperties": 200}


_ITEM = record(
    {
        "key": TEXT,
        "value": {},
        "default": {},
        "set": FLAG,
        "origin": TEXT,
        "fixed": FLAG,
        "fixed_by": TEXT,
        "secret": FLAG,
        "allowed": TEXT,
        "help": TEXT,
        "unsafe": TEXT,
    }
)


class LiveSettings:
    """``settings`` are None where no database is open."""

    SCOPE = "settings"
    ROUTES = (
        ("/v1/settings", "GET", "every"),
        ("/v1/settings", "PATCH", "change"),
        ("/v1/settings/reload", "POST", "reload"),
    )

    def __init__(self, settings: Settings | None) -> None:
        self._optional = settings

    @property
    def _settings(self) -> Settings:
        return running(self._optional, "there are no settings here")

    @shaped("List the settings that may be changed while the server runs.", gives=record({"settings": list_of(_ITEM)}))
    async def every(self, query: Query) -> JSON:
        return {"settings": [described(item) for item in items(self._settings).values()]}

    @shaped(
        "Change settings: all of them or none. A value of null takes back what was set here.",
        action="settings.change",
        body=_values(),
        gives=record({"settings": list_of(_ITEM)}),
    )
    async def change(self, query: Query) -> JSON:
        settings = self._settings
        try:
            await settings.change(query.body)
        except SettingsError as error:
            raise _refusal(error) from None
        return {"settings": [described(item) for key, item in items(settings).items() if key in query.body]}

    @shaped(
        "Read the configuration file, the environment and the certificates again.",
        action="settings.reload",
        gives=record({"changed": list_of(_KEY), "restart": list_of(_KEY), "failed": list_of(TEXT)}),
    )
    async def reload(self, query: Query) -> JSON:
        """``changed`` holds now, ``restart`` is what needs one, ``failed`` what could not be applied."""
        try:
            reloaded = await self._settings.reload()
        except SettingsError as error:
            raise _refusal(error) from None
        return {"changed": list(reloaded.changed), "restart": list(reloaded.restart), "failed": list(reloaded.failed)}


def _refusal(error: SettingsError) -> DirectoryError:
    lines = [f"{key}: {problem}" if key else problem for key, problem in error.problems.items()]
    said = lines[0] if len(lines) == 1 else "\n  ".join(["these settings cannot be used:", *lines])
    return DirectoryError("invalid", said, "Nothing was changed.")
