"""What this machine has and lacks: one check a line, each with what to do about it."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from distill_offline.config.settings import Settings
from distill_offline.doctor import machine, needs
from distill_offline.doctor.check import Check, Status, worst
from distill_offline.models import catalogue
from distill_offline.models.fitting import memory_for_a_teacher
from distill_offline.offline import isolation

__all__ = ["Check", "Status", "examine", "worst"]


def examine(config: Settings | None = None) -> list[Check]:
    """Every check, in the order in which problems should be solved; with a configuration, also what that one needs.

    Nothing is changed and nothing is downloaded. Imports torch, reads every byte of the catalogue's models that are
    here, and starts nvidia-smi where it exists.
    """
    checks = [
        machine.check_python(sys.version_info[:3]),
        *machine.check_packages(),
        *machine.check_accelerator(config),
        *needs.check_models(),
        *(needs.check_needs(config) if config else ()),
        *needs.check_memory(config, memory_for_a_teacher()),
        *([needs.check_pace(Path("runs") / config.name)] if config and config.asks_a_teacher else ()),
        *machine.check_disks({"working folder": Path.cwd(), "models folder": catalogue.models_folder()}),
        machine.check_environment(os.environ),
        machine.check_namespaces(isolation.probe().fault),
        machine.check_clock(datetime.now(UTC)),
        machine.check_umask(machine.umask()),
    ]
    return list(checks)
