"""Which of three layers keep the network out here: the environment, the kernel, and evidence by a tracer."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import util
from typing import Any, Literal

from distill_offline import offline
from distill_offline.errors import EnvironmentFault
from distill_offline.offline import isolation
from distill_offline.offline.decoys import DECOYS
from distill_offline.offline.strace import io_uring_is_disabled, strace_fault, trace
from distill_offline.offline.trace import Trace

__all__ = ["Layer", "Verdict", "examine_environment", "examine_kernel", "examine_network", "judge_decoys"]

Verdict = Literal["holds", "ready", "not proven", "violated"]
"""What is said of a layer.

holds: now, for this command. ready: it can be had here, but this command did not ask for it. not proven: it cannot be
had here. violated: it should hold, and does not.
"""

_LIMIT_S = 180.0

_LOAD = """
from distill_offline import offline
offline.enforce()
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
_LOADED = ("torch", "transformers", "accelerate", "sklearn", "pyarrow", "xllamacpp")

_NO_WAY = ("ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT")  # the last two where IPv6 is switched off
_KERNEL_CANNOT = (
    "a namespace bounds neither sockets of other programs that lie as files (a resolver or a container daemon may use "
    "the network on behalf of who asks) nor AF_VSOCK, a virtual machine's line to its host; root can leave it"
)


@dataclass(slots=True)
class Layer:
    """What one layer shows, in sentences; `facts` are for machines, `remedy` is empty if nothing can be done."""

    name: Literal["environment", "kernel", "evidence"]
    verdict: Verdict
    proven: list[str] = field(default_factory=list)
    not_proven: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    remedy: str = ""


def examine_network() -> list[Layer]:
    """The three layers, each tried.

    Whatever tries to connect does so in a namespace with loopback only, to addresses for documentation. Takes some
    ten seconds where strace is installed.
    """
    kernel = examine_kernel(isolation.probe())
    return [examine_environment(os.environ), kernel, _examine_evidence()]


def examine_environment(environment: Mapping[str, str]) -> Layer:
    """Switches, proxies and the hook that stops Python's connections, for this process and what it starts."""
    layer = Layer("environment", "holds", facts={"switches": dict(offline.ENVIRONMENT)})
    wrong = sorted(name for name, value in offline.ENVIRONMENT.items() if environment.get(name) != value)
    proxies = sorted(name for name in environment if name.lower().endswith("_proxy") and name.lower() != "no_proxy")
    layer.facts |= {"not_set": wrong, "proxies": proxies, "hosts_admitted": list(offline.hosts())}
    if wrong or proxies or not offline.is_enforced():
        layer.verdict = "violated"
        layer.not_proven += [f"switches not set: {', '.join(wrong)}"] if wrong else []
        layer.not_proven += [f"proxies are set: {', '.join(proxies)}"] if proxies else []
        layer.not_proven += [] if offline.is_enforced() else ["connections from Python are not stopped"]
        layer.remedy = "every distill-offline command sets this itself; from Python call offline.enforce() first"
        return layer
    switches = ", ".join(f"{name}={value}" for name, value in offline.ENVIRONMENT.items())
    layer.proven.append(f"{len(offline.ENVIRONMENT)} switches are set, for this process and its children: {switches}")
    removed = offline.proxies()
    layer.proven.append("no proxy is set" + (f" (taken out: {', '.join(removed)})" if removed else ""))
    if admitted := offline.hosts():
        layer.proven.append(f"Python connects to this machine, and to what was admitted: {', '.join(admitted)}")
    elif all(map(offline.stops, isolation.DOCUMENTATION)):
        layer.proven.append("connections from Python beyond this machine are stopped before they are made")
    else:
        layer.verdict = "violated"
        layer.not_proven.append("a connection from Python beyond this machine was not stopped")
    layer.proven.append("pip's configuration plays no part: no command but the bundle's builder starts pip")
    layer.not_proven.append("that native code (C++, Rust, CUDA) and children that are not Python connect nowhere")
    return layer


def examine_kernel(probe: isolation.Probe) -> Layer:
    """Whether this process is in a namespace with loopback only, and whether a child can be put into one."""
    layer = Layer("kernel", "not proven", not_proven=[_KERNEL_CANNOT])
    try:
        now = isolation.state()
    except EnvironmentFault as error:
        layer.not_proven.insert(0, str(error))
        return layer
    layer.facts = {
        "isolated": now.is_loopback_only,
        "interfaces_up": list(now.up),
        "routes": now.routes,
        "obstacles": isolation.obstacles(),
        "attempts": dict(probe.attempts),
        "fault": probe.fault,
    }
    reached = {address: said for address, said in probe.attempts.items() if said not in _NO_WAY}
    if probe.inside is not None and (not probe.inside.is_loopback_only or reached):
        layer.verdict = "violated"
        layer.not_proven.insert(0, f"a namespace with loopback only let something through: {reached or probe.inside}")
        return layer
    tried = ", ".join(f"{address}: {said}" for address, said in probe.attempts.items())
    if now.is_loopback_only:
        layer.verdict = "holds"
        layer.proven.append("this process and its children have no interface but loopback, and no route")
        layer.proven += [f"connecting beyond gives {tried}"] if tried else []
        return layer
    ways = f"{len(now.up)} other interfaces are up and {now.routes} routes lead to them"
    layer.not_proven.insert(0, f"anything of this very command: it is not isolated ({ways})")
    if probe.inside is not None:
        layer.verdict = "ready"
        layer.proven.append(f"a child in a namespace with loopback only reaches nothing beyond ({tried})")
        layer.remedy = "distill-offline --isolate COMMAND ... runs any command so"
    else:
        layer.not_proven.insert(0, probe.fault)
        layer.remedy = "; ".join(isolation.obstacles().values())
    return layer


def _examine_evidence() -> Layer:
    """Show that the tracer sees every way out, then trace the loading of our libraries."""
    layer = Layer("evidence", "not proven")
    if fault := strace_fault():
        layer.facts = {"fault": fault}
        layer.not_proven.append(f"what is sent: {fault}")
        layer.remedy = "install strace, and permit tracing of own children"
        return layer
    decoys = trace([sys.executable, "-P", "-m", "distill_offline.offline.decoys"], timeout_s=_LIMIT_S)
    judge_decoys(layer, decoys.status, decoys.output, decoys.trace)
    names = [name for name in _LOADED if util.find_spec(name)]
    loaded = trace([sys.executable, "-P", "-c", _LOAD, *names], timeout_s=_LIMIT_S)
    layer.facts |= {"loading": loaded.trace.facts(), "io_uring_disabled": io_uring_is_disabled()}
    if loaded.status:
        layer.verdict = "violated" if layer.verdict == "violated" else "not proven"
        layer.not_proven.append(f"loading {', '.join(names)}: it failed with status {loaded.status}")
    elif not loaded.trace.is_clean:
        layer.verdict = "violated"
        layer.not_proven += [f"loading {', '.join(names)}: {line}" for line in loaded.trace.findings()]
    else:
        layer.proven.append(f"loading {', '.join(names)} reaches for nothing beyond this machine")
        layer.not_proven += loaded.trace.findings()
    if not loaded.status and not loaded.trace.rings:
        switched = "off" if io_uring_is_disabled() else "on, though: sending through one would show in no trace"
        layer.proven.append(f"no io_uring was made (this kernel has it switched {switched})")
    layer.not_proven.append(
        "what a run does: distill-offline doctor --network -- distill-offline run CONFIG shows that"
    )
    return layer


def judge_decoys(layer: Layer, status: int, output: str, trace: Trace) -> None:
    """Whether the tracer caught each decoy that was tried; the layer holds only then."""
    try:
        said: dict[str, str] = json.loads(output) if status == 0 else {}
    except ValueError:
        said = {}
    if not said:
        layer.not_proven.append(
            "that the tracer sees every way out: trying them needs a namespace, so that nothing leaves, and there is "
            f"none ({output.strip() or f'status {status}'})"
        )
        return
    seen = {touch.address for touch in trace.at("beyond")}
    tried = [name for name, result in said.items() if result == "tried"]
    missed = [name for name in tried if DECOYS[name] not in seen]
    layer.facts["decoys"] = {name: result if name not in missed else "missed" for name, result in said.items()}
    if missed or not trace.is_whole:
        layer.verdict = "violated"
        what = ", ".join(missed) or "some of it: its trace is not whole"
        layer.not_proven.append(f"anything by the tracer's silence: it missed {what}")
        return
    layer.verdict = "holds"
    layer.proven.append(f"the tracer was seen to catch {len(tried)} ways out: {', '.join(tried)}")
    layer.not_proven += [f"{name}: {result}" for name, result in said.items() if result != "tried"]
