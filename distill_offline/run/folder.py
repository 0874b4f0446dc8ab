"""A run's folder: its settings, and where its stages lie."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_offline import config, manifest
from distill_offline.completions import check_free
from distill_offline.config.settings import Settings
from distill_offline.errors import ConfigError, InputError
from distill_offline.schema import Watch
from distill_offline.storage.files import STORE, check_own, replacing

__all__ = ["SAMPLE", "RunFolder"]


SAMPLE = "sample"  # the folder of `annotate --sample`; annotate takes its answers over


@dataclass(frozen=True, slots=True)
class RunFolder:
    """`runs/<name>/` with its resolved settings, and the callbacks of whoever runs it.

    `say` shows one line of news, `watch` shows progress, `stop` tells whether to stop at the next safe point,
    and `on_warning` shows a line more loudly than `say`.
    """

    path: Path
    settings: Settings
    command: tuple[str, ...] = ()
    say: Callable[[str], None] = lambda line: None
    watch: Watch = lambda progress: None
    stop: Callable[[], bool] = lambda: False
    on_warning: Callable[[str], None] | None = None

    def warn(self, line: str) -> None:
        """Show a line that nobody should miss: by `on_warning`, or as news."""
        if self.on_warning is None:
            self.say(f"warning: {line}")
        else:
            self.on_warning(line)

    def folder(self, stage: str) -> Path:
        return self.path / stage

    def whole(self, stage: str) -> Path:
        """The folder of a stage that has been run to its end; raises InputError if it has not."""
        folder = self.folder(stage)
        if not manifest.is_whole(folder):
            raise InputError(f"{folder}: {stage} {manifest.why_not_whole(folder)}.")
        return folder

    def require(self, key: str, value: Any) -> Any:
        """`value`, or the error that the configuration lacks `key`."""
        if value in (None, "", ()):
            raise ConfigError(f"{self.settings.name}: {key} is missing; this stage needs it.")
        return value

    def open(self) -> None:
        """Make the folder, say what changed since its last use, and write config.yaml.

        Raises StoreError, and changes nothing, if another process is annotating into it; InputError where anything
        in it is a link or no plain file.
        """
        self.check()
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        check_free(self.folder("annotate") / STORE)
        file, text = self.path / "config.yaml", config.dump(self.settings)
        before = file.read_text("utf-8") if file.exists() else None
        if before == text:
            return
        if changes := self.changes():
            self.say(f"{self.path}: the configuration has changed; the stages it touches run again:")
            for line in changes:
                self.say(f"  {line}")
        manifest.unseal(self.path)
        own_file = file.with_name(f"config.yaml.{os.getpid()}")  # shards of one run may come here at the same moment
        with replacing(file, own_file) as out:
            out.write(text)

    def check(self) -> None:
        """Raises InputError if anything in the folder is a link or no plain file; before something is written."""
        check_own(self.path)

    def changes(self) -> list[str]:
        """How the configuration differs from the one of the run's last use, as the lines of a diff."""
        file = self.path / "config.yaml"
        before = file.read_text("utf-8").splitlines() if file.exists() else []
        now = config.dump(self.settings).splitlines() if before else []
        return list(difflib.unified_diff(before, now, "before", "now", n=1, lineterm=""))

    def seal(self) -> None:
        """Seal the run over the stages that are whole."""
        manifest.seal_run(
            self.path,
            config=config.as_plain(self.settings),
            seeds={"seed": self.settings.seed},
            command=self.command,
            # Answers to a change that nobody has taken over yet, and what people are still deciding.
            exclude=[f"{SAMPLE}/*", "review/*"],
        )
