"""A run from Python: its stages as methods, over the functions that the verbs call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from distill_offline import manifest
from distill_offline.adapt.stage import adapt
from distill_offline.annotate.stage import annotate
from distill_offline.annotations import AnnotationLine, read_lines
from distill_offline.config.loading import load
from distill_offline.config.settings import Settings
from distill_offline.corpus import head_of, resolve_path
from distill_offline.errors import InputError
from distill_offline.evaluate.stage import evaluate
from distill_offline.pipeline.run import check_training, run
from distill_offline.pretrain.stage import pretrain
from distill_offline.run.folder import RunFolder
from distill_offline.schema import Watch
from distill_offline.select.stage import select
from distill_offline.storage.files import ANNOTATIONS
from distill_offline.student.model import Student
from distill_offline.train.stage import is_trained, train

__all__ = ["Run", "open_run", "read_annotations"]


def open_run(
    config: str | Path,
    folder: str | Path | None = None,
    *,
    changes: Iterable[str] = (),
    say: Callable[[str], None] = lambda line: None,
    watch: Watch = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """The run of a configuration, in `folder` (by itself runs/NAME); a new one, or one to go on with.

    `changes` are settings as `--set` takes them ("train.updates=60"). `say` is called with each line of news, `watch`
    with progress; once `stop` gives True, a stage commits what it has and raises Interrupted. Nothing is written before
    a stage is run. Raises ConfigError for a wrong configuration.
    """
    settings = load(resolve_path(config), changes)
    path = Path("runs") / settings.name if folder is None else Path(folder)
    return Run(RunFolder(path, settings, say=say, watch=watch, stop=stop))


class Run:
    """A run's folder and its stages; each is skipped where nothing changed, and sealed by a manifest where it ran."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self._folder.path

    @property
    def settings(self) -> Settings:
        """The configuration, with the changes."""
        return self._folder.settings

    def run(self) -> dict[str, Any]:
        """Every stage that the configuration asks for; gives evaluate's scores. Raises GateMissed below its gate."""
        return run(self._folder)

    def annotate(self) -> dict[str, Any]:
        """Ask the teacher, adapted first if that is asked for; gives counts.

        Raises QuarantineError if too many answers could not be used.
        """
        if self.settings.adapt is not None:
            self.adapt()
        return dict(self._alone(annotate))

    def adapt(self) -> dict[str, Any]:
        """Let the teacher learn from gold. Raises ConfigError without the section adapt; gives counts and losses."""
        return dict(self._alone(adapt))

    def pretrain(self) -> dict[str, Any]:
        """Let the encoder learn the text, where the configuration says so; gives counts and losses, else nothing."""
        return dict(self._alone(pretrain))

    def select(self) -> dict[str, Any]:
        """Choose what students may learn from; gives counts."""
        if self.settings.select.cross_fit is not None:
            self.pretrain()
        return dict(self._alone(select))

    def train(self, *arms: str) -> dict[str, dict[str, Any]]:
        """Select, and train the student of each arm, or of these alone; gives counts and scores on dev by arm."""
        check_training(self.settings, arms)
        self.pretrain()
        self.select()
        return {arm: dict(counts) for arm, counts in self._alone(lambda folder: train(folder, arms)).items()}

    def evaluate(self) -> dict[str, Any]:
        """Score the trained students, and the teacher where it labelled the split; gives evaluate/report.json.

        Warns of students that are not trained, and of those that are not known to be of the settings and data as now.
        """
        train = self.settings.train
        old = {student.name for student in train.students if not is_trained(self._folder, student)}
        # Those, too, that are as they were made, but with students that would be others now.
        made_with = {each.name: (each, *train.students_before(each)) for each in train.students}
        if unfit := [name for name, students in made_with.items() if old & {student.name for student in students}]:
            self._folder.warn(
                f"evaluate: {', '.join(unfit)}: not trained, or not known to be of settings, data, encoder and program "
                "as they are now. What is there is scored as it is, and counts in its arm's mean. Train first."
            )
        return dict(self._alone(evaluate))

    def student(self, arm: str) -> Student:
        """The trained student of an arm, or of a later seed (`NAME-2`). Raises InputError if there is none yet."""
        return Student.load(self._folder.whole(f"train/{arm}") / "student")

    def annotations(self, stage: str = "annotate") -> Iterator[AnnotationLine]:
        """What a stage has left, annotate or select: see read_annotations."""
        return read_annotations(self._folder.whole(stage))

    def _alone(self, stage: Callable[[RunFolder], Any]) -> Any:
        self._folder.open()
        result = stage(self._folder)
        self._folder.seal()
        return result


def read_annotations(labels: str | Path) -> Iterator[AnnotationLine]:
    """What an annotate, cross_fit or select folder, or its annotations.jsonl, says of each sentence.

    Its spans with their confidences and how they were found, and the mentions that were rejected, with the reason.
    Raises InputError if the folder has no annotations, or its stage was not run to its end.
    """
    path = resolve_path(labels)
    file = path / ANNOTATIONS if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{labels}: there are no annotations ({ANNOTATIONS}) here.")
    # annotate/gold/test has no manifest of its own
    stages = (path, *path.parents[:2])
    if path.is_dir() and not any(map(manifest.is_whole, stages)):
        raise InputError(f"{labels}: its stage {manifest.why_not_whole(*stages)}.")
    yield from read_lines(file, head_of(file))
