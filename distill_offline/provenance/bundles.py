"""Bundles that made a run: found where they lie here, compared by digest, and asked who signed them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill_offline.bundle.verifier import verify
from distill_offline.errors import InputError
from distill_offline.manifest import NAME
from distill_offline.manifest.installation import RELEASE
from distill_offline.models.files import is_model_file
from distill_offline.provenance.links import Link, Problem, broken, gap
from distill_offline.provenance.trust import Trust, signer
from distill_offline.storage.digests import digest_of, file_digests

__all__ = ["Bundles"]


@dataclass(slots=True)
class Bundles:
    """The bundles that stages name. `named_bundle` is the caller's --bundle: its folder, or an installed release."""

    trust: Trust
    named_bundle: Path | None = None
    _models: dict[str, str] = field(default_factory=dict)  # a model's digest → id and bundle
    _files: dict[str, str] = field(default_factory=dict)  # a data file's digest → its path in the bundle

    def __post_init__(self) -> None:
        if self.named_bundle is not None:
            self._learn(self.named_bundle)

    def link(self, named: Mapping[str, Any] | None, made_by: str, stages: str) -> Link:
        """The link from stages to the bundle that `manifest show` tells of; None if it tells of none."""
        if named is None:
            tell = broken if self.named_bundle else gap
            text = f"{stages}: made by {made_by}; it was not made by a bundle"
            return Link("bundle", "none", made_by, (tell("no-bundle", stages, text),))
        told = f"{stages}; commit {named.get('commit') or 'not recorded'}; signed at install by " + (
            " and ".join(map(str, named.get("signers") or ())) or "nobody"
        )
        folder = self._find(named)
        if folder is None:
            return Link("bundle", named["id"], told, (self._not_found(named, stages),))
        whose = signer(folder, verify.NAMESPACE, self.trust, named["id"])
        return Link("bundle", named["id"], told, parts=(whose,))

    def told_of_model(self, digest: str) -> str:
        """Where these weights lie in a known bundle, or nothing."""
        return self._models.get(digest, "")

    def told_of_file(self, digest: str) -> str:
        return self._files.get(digest, "")

    def look_for(self, named: Mapping[str, Any] | None) -> None:
        """Learn what an installed bundle holds, where it is here."""
        if named is not None and (folder := self._find(named)) is not None:
            self._learn(folder)

    def _find(self, named: Mapping[str, Any]) -> Path | None:
        """The folder whose manifest.json has the recorded digest: the given one, else among the installed releases."""
        places = [self.named_bundle] if self.named_bundle else []
        if release := os.environ.get(RELEASE):
            places += [Path(release), Path(release).parent / Path(str(named["id"])).name]
        for folder in places:
            path = folder / NAME
            if path.is_file() and file_digests([path])[path] == named["manifest_sha256"]:
                return folder
        return None

    def _not_found(self, named: Mapping[str, Any], stages: str) -> Problem:
        if self.named_bundle:
            return broken(
                "unknown-bundle", stages, f"{stages}: made by bundle {named['id']}, which is not the given one"
            )
        return gap("not-here", stages, f"bundle {named['id']} is not here; give --bundle")

    def _learn(self, folder: Path) -> None:
        try:
            manifest = json.loads((folder / NAME).read_bytes())
            if manifest["schema"] != verify.SCHEMA:
                raise InputError(f"--bundle {folder}: its manifest.json is not that of a bundle.")
            self._take_in(manifest)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"--bundle {folder}: has no manifest.json of a bundle ({type(error).__name__})."
            ) from error

    def _take_in(self, manifest: Mapping[str, Any]) -> None:
        for model in manifest["models"]:
            prefix = f"models/{model['id']}@{model['revision']}/"
            model_digests = {
                file["path"].removeprefix(prefix): file["sha256"]
                for file in manifest["files"]
                if file["path"].startswith(prefix) and is_model_file(Path(file["path"].removeprefix(prefix)))
            }
            where = f"{model['id']} of {manifest['bundle_id']}"
            self._models |= {digest_of(model_digests): where, **dict.fromkeys(model_digests.values(), where)}
        self._files |= {file["sha256"]: file["path"] for file in manifest["files"] if file["kind"] == "data"}
