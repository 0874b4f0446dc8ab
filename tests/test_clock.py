"""A clock that jumps, to 1970, to 2100 or back between two steps: nothing is lost, and nothing is taken for another."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from distill_offline import manifest
from distill_offline.backends.server_errors import seconds_to_wait
from distill_offline.bundle import manifest as bundle_manifest
from distill_offline.errors import ConfigError
from distill_offline.storage.lock import Lock


def at(year: int) -> datetime:
    return datetime(year, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("started", [1970, 2100])
def test_a_stage_that_ended_before_it_began_is_sealed_and_whole(tmp_path: Path, started: int) -> None:
    (tmp_path / "labels").write_text("a")
    manifest.seal(
        tmp_path, stage="annotate", config={}, seeds={}, inputs=[], models={}, parents=[], command=(),
        started=at(started), counts={}, fingerprint="0", engine={},
    )  # fmt: skip
    assert manifest.fingerprint_of(tmp_path) == "0"
    assert not manifest.verify(tmp_path)
    shown = manifest.show(tmp_path)
    assert shown["started"].startswith(str(started))
    assert shown["finished"] > "2020"


@pytest.mark.parametrize("year", [1970, 2100])
def test_files_of_another_time_change_no_seal(tmp_path: Path, year: int) -> None:
    (tmp_path / "labels").write_text("a")
    manifest.seal(
        tmp_path, stage="annotate", config={}, seeds={}, inputs=[], models={}, parents=[], command=(),
        started=None, counts={}, fingerprint="0", engine={},
    )  # fmt: skip
    os.utime(tmp_path / "labels", (at(year).timestamp(),) * 2)
    assert not manifest.verify(tmp_path)
    (tmp_path / "labels").write_text("b")
    os.utime(tmp_path / "labels", (at(year).timestamp(),) * 2)
    assert manifest.verify(tmp_path)


@pytest.mark.parametrize("year", [1970, 2100])
@pytest.mark.parametrize("is_shared", [False, True])
def test_a_lock_is_the_kernels_and_never_grows_old(tmp_path: Path, year: int, is_shared: bool) -> None:
    held = Lock(tmp_path / "store", is_shared=is_shared)
    for place in (tmp_path, *tmp_path.iterdir()):
        os.utime(place, (at(year).timestamp(),) * 2)
    with pytest.raises(BlockingIOError):
        Lock(tmp_path / "store", is_shared=is_shared)
    held.release()
    Lock(tmp_path / "store", is_shared=is_shared).release()


@pytest.mark.parametrize("moment", ["Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_server_of_another_time_is_not_waited_for_for_ever(moment: str) -> None:
    assert seconds_to_wait(moment, 60) == (0 if "1970" in moment else 60)


@pytest.mark.parametrize("epoch", ["\u00b2", "9" * 12, "9" * 30, "-1", "", "1.5", "253402300800"])
def test_a_moment_of_building_that_no_manifest_can_hold_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, epoch: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(ConfigError, match="SOURCE_DATE_EPOCH is a whole number of seconds since 1970"):
        bundle_manifest.created(SimpleNamespace(created=None))  # type: ignore[arg-type]
