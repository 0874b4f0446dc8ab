"""Many engines on a Ray cluster, behind the interface of one: Ray Data keeps the workers, we lease them the prompts."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from distill_offline import errors
from distill_offline.backends.base import Backend
from distill_offline.backends.ray_ledger import Failure, Key, Ledger, Lot, News
from distill_offline.backends.ray_session import Session, brief, environment
from distill_offline.backends.ray_worker import Engine, Seat, decode_completion, encode_prompt
from distill_offline.config.settings import ClusterSettings
from distill_offline.errors import BackendError, DistillError
from distill_offline.schema import Completion, Prompt, Sampling

__all__ = ["RayCluster"]

_WAIT_S = 1.0
_END_S = 30.0

_log = logging.getLogger(__name__)


class RayCluster:
    """`workers` engines of one kind, each in a `Worker` on a node of a Ray cluster.

    `kind`, `model`, `sampling` and `options` are as for `Worker`; what they name must be the same on every node. The
    cluster is joined, or started, at the first `complete` or `identity`, and left by `close`.

    Prompts are handed over as engines have room, and answers come as they finish: no engine waits for another or for
    the end of a batch. A worker or node that dies is started again by Ray, and what it had not answered goes to
    whoever is free. A worker whose engine cannot start is left out and logged; when none is left, its error is raised.
    Raises MissingPackage without Ray, and BackendError where the cluster cannot be had.
    """

    needs_model: ClassVar[bool] = True
    speed_only: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self, kind: type[Backend], model: Path, sampling: Sampling, options: Mapping[str, Any], cluster: ClusterSettings
    ) -> None:
        self._cluster = cluster
        self._session = Session(cluster)
        self._engine = Engine(
            target=f"{kind.__module__}:{kind.__qualname__}",
            model=str(model.absolute()),
            sampling=sampling,
            options=dict(options),
            folder=str(Path.cwd()),
            environment=environment(),
            path=tuple(sys.path),
        )
        self._stream = 0
        self._told: set[int] = set()  # seats whose failure was logged
        self._ledger: Any = None
        self._job: threading.Thread | None = None
        self._job_error: BaseException | None = None

    def identity(self) -> Mapping[str, Any]:
        """The engine's own identity; workers whose engine differs are left out."""
        news = self._exchange([], 0)
        while news.identity is None:
            news = self._exchange([], 0)
        return news.identity

    def complete(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Completion]]:
        """As the engine's: prompts are taken on the caller's thread, answers come as they finish, one a position."""
        self._stream += 1
        keyed = (((self._stream, position), encode_prompt(prompt)) for position, prompt in enumerate(prompts))
        room = enough = self._cluster.workers * self._cluster.batch
        waiting: set[Key] = set()
        exhausted = False
        try:
            while True:
                taken = list(islice(keyed, room))
                exhausted = exhausted or len(taken) < room
                waiting.update(key for key, _ in taken)
                if not waiting:
                    return
                news = self._exchange(taken, 0 if exhausted else enough)
                for key, data in news.answers:
                    waiting.remove(key)
                    yield key[1], decode_completion(data)
                room = max(enough - news.queued, 0)
        finally:
            if waiting and self._ledger is not None:
                with contextlib.suppress(BackendError):
                    self._call(self._ledger.forget.remote())

    def close(self) -> None:
        """End the workers, leave the cluster, and remove what a Ray of our own left on this machine."""
        if self._ledger is not None:
            with contextlib.suppress(DistillError):
                self._call(self._ledger.close.remote())
            if self._job is not None:
                self._job.join(_END_S)
        self._ledger = self._job = None
        self._session.leave()

    def _exchange(self, prompts: Lot, enough: int) -> News:
        """Hand over prompts and hear what is new; raises the workers' error when none of them is left."""
        if self._ledger is None:
            self._start()
        job = self._job
        alive = job is not None and job.is_alive()
        news: News = self._call(self._ledger.exchange.remote(prompts, enough, _WAIT_S))
        for seat, failure in news.failures.items():
            if seat not in self._told:
                self._told.add(seat)
                _log.warning("%s", failure.message)
        if len(news.failures) == self._cluster.workers:
            raise self._give_up(next(iter(news.failures.values())))
        if not alive:
            raise BackendError(f"Ray ended the workers: {brief(self._job_error)}.") from self._job_error
        return news

    def _give_up(self, failure: Failure) -> DistillError:
        kind = getattr(errors, failure.kind, BackendError)
        hint = "" if self._cluster.log else " annotate.cluster.log: true shows what the workers say."
        return BackendError(failure.message + hint) if kind is BackendError else kind(failure.message)

    def _call(self, reference: Any) -> Any:
        ray = self._session.ray
        try:
            return ray.get(reference)
        except ray.exceptions.RayError as error:
            raise BackendError(f"the Ray cluster is gone: {brief(error)}.") from error

    def _start(self) -> None:
        self._session.join()
        try:
            self._ledger = self._beside_us()
            dataset = self._seats()
        except self._session.ray.exceptions.RayError as error:
            self.close()
            raise BackendError(f"annotate.cluster: Ray cannot be used: {brief(error)}.") from error
        self._told = set()
        self._job_error = None
        self._job = threading.Thread(target=self._run, args=(dataset,), name="ray data", daemon=True)
        self._job.start()

    def _beside_us(self) -> Any:
        """The ledger, as an actor on this node: it ends when we do, not when another node does."""
        ray = self._session.ray
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        here = strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        return ray.remote(Ledger).options(num_cpus=0, max_concurrency=1000, scheduling_strategy=here).remote()

    def _seats(self) -> Any:
        """The dataset whose rows are the workers' seats: Ray Data starts, places and restarts an actor for each.

        Prompts do not go through the dataset itself: it takes no stream in, and would load the engines anew for each
        round of them.
        """
        import pyarrow

        data = self._session.ray.data
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        seats = data.from_blocks([pyarrow.table({"seat": [seat]}) for seat in range(self._cluster.workers)])
        dataset = seats.map_batches(
            Seat,
            fn_constructor_args=(self._ledger, self._engine, self._cluster.batch),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=self._cluster.workers, max_tasks_in_flight_per_actor=1),
            num_cpus=self._cluster.cpus,
            num_gpus=self._cluster.gpus,
        )
        dataset.context.enable_progress_bars = False
        dataset.context.issue_detectors_config.detectors = []  # a seat is one task for hours: nothing hangs
        return dataset

    def _run(self, dataset: Any) -> None:
        try:
            for _ in dataset.iter_batches(batch_size=None):
                pass
        except BaseException as error:
            self._job_error = error
