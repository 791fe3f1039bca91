"""What every command can be told."""

from pathlib import Path
from typing import dataclass_transform

import msgspec

from services.runtime import settings
from services.runtime.config import Config


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of a command, checked; a command with more has a subclass."""

    json: bool = False
    verbose: bool = False
    config: Path | None = None
    data_dir: Path | None = None

    def settings(self, **overrides: object) -> Config:
        """Return the configuration, with what the command line says over it.

        Raises:
            InvalidConfiguration: lists what is wrong.
        """
        path = self.config.expanduser() if self.config else None
        return settings.load(path, overrides={"data_dir": self.data_dir, **overrides})
