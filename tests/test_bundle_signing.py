"""Signatures by the real ssh-keygen and openssl, over a bundle's manifest and over a run's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import bundles
import pytest

from distill_offline.bundle.signing import RUN_NAMESPACE, Keys, namespace_of, sign
from distill_offline.bundle.verifier import verify
from distill_offline.errors import ConfigError, EnvironmentFault

pytestmark = pytest.mark.skipif(bool(bundles.TOOLS), reason=f"{' and '.join(bundles.TOOLS)} not on this machine")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> bundles.Keys:
    return bundles.Keys.make(tmp_path_factory.mktemp("keys"))


def manifest(folder: Path, content: str) -> Path:
    path = folder / "manifest.json"
    path.write_text(content, "utf-8")
    return path


def run_manifest(folder: Path) -> Path:
    return manifest(folder, '{"_type": "https://in-toto.io/Statement/v1", "subject": []}')


def ssh_verify(path: Path, keys: bundles.Keys, namespace: str) -> int:
    command = ["ssh-keygen", "-Y", "verify", "-f", keys("own.allowed"), "-I", "own@site", "-n", namespace]
    with path.open("rb") as file:
        return subprocess.run([*command, "-s", f"{path}.sig"], stdin=file, capture_output=True).returncode


def test_bundle_and_run_are_signed_in_namespaces_of_their_own(tmp_path: Path, keys: bundles.Keys) -> None:
    own = Keys(Path(keys("own")))
    path = run_manifest(tmp_path)
    assert sign(path, own) == [keys.fingerprint("own")]
    assert ssh_verify(path, keys, RUN_NAMESPACE) == 0
    assert ssh_verify(path, keys, verify.NAMESPACE) != 0
    path = manifest(tmp_path, '{"schema": "distill-offline-bundle/1"}')
    assert ssh_verify(path, keys, RUN_NAMESPACE) != 0
    sign(path, own)
    assert ssh_verify(path, keys, verify.NAMESPACE) == 0


def test_p256_signature_holds_by_openssl(tmp_path: Path, keys: bundles.Keys) -> None:
    path = run_manifest(tmp_path)
    assert sign(path, Keys(p256=Path(keys("own.pem"))))[0].startswith("P-256 key sha256:")
    command = ["openssl", "dgst", "-sha256", "-verify", keys("own.pub.pem"), "-signature", f"{path}.p256", str(path)]
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert not (tmp_path / "manifest.json.sig").exists()


def test_keys_of_other_kinds_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    path = run_manifest(tmp_path)
    rsa, curve = tmp_path / "rsa", tmp_path / "p384.pem"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(rsa)], check=True)
    subprocess.run(["openssl", "ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", str(curve)], check=True)
    with pytest.raises(ConfigError, match="rsa: is a key of the kind ssh-rsa"):
        sign(path, Keys(rsa))
    with pytest.raises(ConfigError, match=r"p384\.pem: is not a key on P-256"):
        sign(path, Keys(p256=curve))
    assert not {"manifest.json.sig", "manifest.json.p256"} & {each.name for each in tmp_path.iterdir()}


def test_what_is_no_manifest_is_not_signed(tmp_path: Path, keys: bundles.Keys) -> None:
    for content in ("{}", "[]", "no json", '{"schema": "distill-offline-bundle/2"}'):
        path = manifest(tmp_path, content)
        with pytest.raises(ConfigError, match="manifest"):
            sign(path, Keys(Path(keys("own"))))
        with pytest.raises(ConfigError, match="manifest"):
            sign(path, Keys(p256=Path(keys("own.pem"))))
    with pytest.raises(ConfigError, match="manifest"):
        namespace_of(tmp_path / "nowhere.json")


def test_key_that_is_none_is_told(tmp_path: Path) -> None:
    path = run_manifest(tmp_path)
    (tmp_path / "key").write_text("no key", "utf-8")
    with pytest.raises(EnvironmentFault, match="ssh-keygen could not sign"):
        sign(path, Keys(tmp_path / "key"))
    with pytest.raises(ConfigError, match="no such key file"):
        Keys(tmp_path / "nowhere")
