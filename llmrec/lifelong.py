"""One transfer method over the tasks of a source: pre-trained once, learned task by task, measured again and again.

A run folder holds ``config.json``, ``tasks/<number-name>/`` for each task and ``results.json``, which is written last.
A task's folder has a folder for each phase of its training, ``model.safetensors`` with what must be stored for it,
``test/`` with its run table, and ``result.json``. ``network.safetensors`` is the one network of a method that keeps
one. The pre-trained network lies in a run folder of its own beside, which all methods of one seed share.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from llmrec import components, pretrained, runs, stacking, task_results, training
from llmrec.config import RunConfig
from llmrec.course import Course
from llmrec.errors import ConfigError, RunError
from llmrec.lessons import SOURCE, Lesson
from llmrec.phases import Trained, Trainer, load_state, save_state
from llmrec.task_losses import WORDS
from llmrec.task_results import Answers
from llmrec.transfer import Method
from llmrec.user_network import UserNetwork


class Lifelong:
    """One method over a course.

    Args:
        config: resolved, with ``transfer``.
        course: what is to be learned.
        folder: of the run; what is finished in it is not done again.
        trainer: runs the phases.

    Raises:
        ConfigError: a head with a table of users, or an order of tasks that do not exist.
    """

    def __init__(self, config: RunConfig, course: Course, folder: Path, trainer: Trainer) -> None:
        assert config.transfer is not None
        self.config, self.options, self.folder, self.trainer = config, config.transfer, folder, trainer
        self.course = course.ordered(config.transfer.order)
        self.method: Method = components.create("transfer", config.transfer.method)
        self.keeps_one = self.method.begins == "previous"
        if getattr(components.load("heads", config.head["name"]), "by_user", False):
            raise ConfigError(
                f"head {config.head['name']!r} has a vector for each user, and tasks are learned for users who are "
                "not known yet; take --head nextitnet or sasrec"
            )
        if self.options.pretrained is not None:
            pretrained.require_fitting(self.options.pretrained, config, self.method, self.course)

    @property
    def pretrained_folder(self) -> Path:
        """Where the pre-trained network is, or will be: beside the run, by all that it depends on."""
        if self.options.pretrained is not None:
            return self.options.pretrained
        return self.folder.parent / pretrained.folder_name(self.config, self.method, self.course)

    def pretrain(self) -> Path:
        """Finds or makes the pre-trained network; returns its run folder."""
        place = runs.RunFolder(self.pretrained_folder)
        if place.finished:
            return place.path
        place.path.mkdir(parents=True, exist_ok=True)
        runs.write_json(place.path / "config.json", self.config.model_dump(mode="json"))
        network, seconds = self._unlearned()
        lesson = Lesson.of_source(self.course.source, self.course.train, network, self.config)
        # Runs over other tasks of the same source go on with it, if it was cut off.
        trainer = replace(self.trainer, basis={"source": self.course.source_hash})
        trained = trainer.run(self.method.pretraining(lesson), network, place.path)
        save_state(place.path / "network.safetensors", network, trained[-1].progress)
        pretrained.save_source(place.path, self.course)
        metrics: dict[str, Any] = {"validation": trained[-1].progress.best, **_effort(trained)}
        metrics["seconds"] += seconds
        if "next item" in self.method.origin.values():
            table = self._table(network, SOURCE, trained)
            table.save(place.path / "test")
            metrics |= {
                "test": task_results.metrics(self.course.source, table),
                "protocol": table.protocol.model_dump(),
            }
        runs.write_json(place.path / "metrics.json", {**metrics, "provenance": runs.provenance(seed=self.config.seed)})
        for each in trained:
            (place.path / each.name / "state.safetensors").unlink()
        return place.path

    def _unlearned(self) -> tuple[UserNetwork, float]:
        """What pre-training begins with: new weights, or the blocks of a shallower network, each of them twice; and the
        seconds of training that this has taken."""
        network, how, seconds = self._new(), self.options.stacking, 0.0
        if how != "none":
            half = Lifelong(pretrained.shallower(self.config), self.course, self.folder, self.trainer)
            place = half.pretrain()
            network.load_state_dict(stacking.stack(_read(place / "network.safetensors"), how))
            seconds = runs.read_json(place / "metrics.json")["seconds"]
        return network, seconds

    def run(self) -> dict[str, Any]:
        """Learns and measures every task; returns the content of ``results.json``."""
        first = SOURCE if self.keeps_one else SOURCE + 1
        numbers = range(first, len(self.course.tasks) + 1)
        learned = [self._learn(number, range(first, number)) for number in numbers]
        if self.keeps_one:
            self._keep(numbers[-1])
        network = _bytes(_shared(self._new()))
        shared = network if self.keeps_one or any(each["needs_shared"] for each in learned) else 0
        results = {
            "method": self.options.method,
            "source": None if self.method.begins == "new" else str(self.pretrained_folder),
            "tasks": learned,
            "network_bytes": network,
            "shared_bytes": shared,
            "stored_bytes": shared + sum(each["stored_bytes"] for each in learned),
            "provenance": runs.provenance(seed=self.config.seed),
        }
        runs.write_json(self.folder / "results.json", results)
        self._state(numbers[-1]).unlink(missing_ok=True)
        return results

    def answers(self, number: int) -> Answers:
        """What answers a task of a finished run, from what was stored alone.

        Raises:
            RunError: a file that is missing or damaged, or one of another network.
        """
        first, last = (SOURCE, len(self.course.tasks)) if self.keeps_one else (number, number)
        if self.keeps_one:
            network = self._with_heads(last)
            self.method.prepare(network)
            _restore_shared(network, self.folder / "network.safetensors")
        else:
            network = self._begin(number)
        for each in range(first, last + 1):
            path = self._place(each) / "model.safetensors"
            with _named(path):
                self.method.restore(network, _read(path))
        self.method.recall(network, number)
        return Answers(network, number, self.config.max_seq_len)

    def _learn(self, number: int, earlier: Iterable[int]) -> dict[str, Any]:
        """One task: its phases, what must be stored, its table, and all earlier tasks once more."""
        place, task = self._place(number), self.course.task(number)
        if (place / "result.json").is_file():
            self._require_course(place)
            return runs.read_json(place / "result.json")
        place.mkdir(parents=True, exist_ok=True)
        network = self._begin(number)
        if number == SOURCE:
            lesson = Lesson.of_source(task, self.course.train, network, self.config)
        else:
            lesson = Lesson.of_task(number, task, network, self.config)
        trained = self.trainer.run(self.method.phases(lesson), network, place)
        names = frozenset[str]().union(*(each.learned for each in trained))
        stored = {name: each.contiguous().cpu() for name, each in self.method.stored(lesson, names).items()}
        runs.write_atomically(place / "model.safetensors", lambda path: save_file(stored, path))
        if self.keeps_one:
            save_state(self._state(number), network, trained[-1].progress if trained else training.Progress())
        again = {each: self._again(network, each) for each in earlier}
        self.method.recall(network, number)
        table = self._table(network, number, trained)
        table.save(place / "test")
        kept = {name for name, _ in lesson.named_weights()} - stored.keys()
        result = {
            "name": task.name,
            "kind": task.kind,
            "classes": len(task.classes),
            "validation": trained[-1].progress.best if trained else lesson.validate(),
            "test": task_results.metrics(task, table),
            **_trainable(lesson, trained, names),
            **_effort(trained),
            "stored_bytes": _bytes(stored),
            "needs_shared": bool(kept),
            "earlier": {self.course.task(each).name: values for each, (values, _) in again.items()},
            "unchanged": {self.course.task(each).name: same for each, (_, same) in again.items()},
            "notes": list(task.notes),
            **self.method.report(network),
        }
        runs.write_json(place / "result.json", result)
        for each in trained:
            (place / each.name / "state.safetensors").unlink()
        if number and self.keeps_one:
            self._state(number - 1).unlink(missing_ok=True)
        return result

    def _require_course(self, place: Path) -> None:
        """Raises RunError where a finished task was learned beside other tasks, users or data."""
        then = runs.read_json(place / "test" / "protocol.json")["data_hash"]
        if then != self.course.hash:
            raise RunError(
                f"{place} was learned with other data or task files ({then} then, {self.course.hash} now), so its "
                "users are not those of the tasks to come; restore these, or begin again with --overwrite"
            )

    def _begin(self, number: int) -> UserNetwork:
        """The network that a task begins with; what is new in it is drawn by seed and number."""
        if self.keeps_one and number != SOURCE:
            network = self._with_heads(number - 1)
            self.method.prepare(network)
            load_state(self._state(number - 1), network)
        else:
            network = self._new()
            if self.method.begins != "new":
                load_state(self.pretrain() / "network.safetensors", network)
        training.seed_step(self.config.seed, number, 0)
        if number != SOURCE:
            network.add_head(number, len(self.course.task(number).classes))
        if not self.keeps_one or number == SOURCE:
            self.method.prepare(network)
        return network

    def _new(self) -> UserNetwork:
        config = self.config
        training.seed_step(config.seed, 0, 0)
        trunk = components.create("heads", config.head, config.embedding_dim, config.max_seq_len + 1)
        network = UserNetwork(len(self.course.source.classes), config.embedding_dim, trunk, tied=self.options.tied)
        return network.to(self.trainer.accelerator.device)

    def _with_heads(self, last: int) -> UserNetwork:
        network = self._new()
        for number in range(1, last + 1):
            network.add_head(number, len(self.course.task(number).classes))
        return network

    def _again(self, network: UserNetwork, number: int) -> tuple[dict[str, Any], bool]:
        """Metrics of an earlier task as it is answered now, and whether every answer is the one it was."""
        if self.keeps_one:
            self.method.recall(network, number)
            table = self._table(network, number, [])
        else:
            table = self._table(self.answers(number).network, number, [])
        then = runs.RunTable.load(self._place(number) / "test")
        same = table.cases.equals(then.cases) and table.rankings.equals(then.rankings)
        return task_results.metrics(self.course.task(number), table), same

    def _table(self, network: UserNetwork, number: int, trained: list[Trained]) -> runs.RunTable:
        task = self.course.task(number)
        loss = self.config.loss["name"] if number == SOURCE else WORDS[self.options.loss]
        protocol = {
            "data": self.course.data,
            "data_hash": self.course.hash,
            "split": self.course.split,
            "test_history": f"the user's last {self.config.max_seq_len} items of the source before the target",
            "filter": self.config.filter.words,
            "candidates": f"all {len(task.classes)} classes of the task; trained by {loss}",
        }
        facts = runs.provenance(seed=self.config.seed, method=self.options.method, **_effort(trained))
        answers = Answers(network, number, self.config.max_seq_len)
        return task_results.measure(answers, task, "test", self.course.user_ids, protocol, facts)

    def _keep(self, last: int) -> None:
        """Writes the one network that all tasks are answered by."""
        if self._state(last).is_file():
            network = self._with_heads(last)
            self.method.prepare(network)
            load_state(self._state(last), network)
            shared = _shared(network)
            runs.write_atomically(self.folder / "network.safetensors", lambda path: save_file(shared, path))

    def _place(self, number: int) -> Path:
        return self.folder / "tasks" / f"{number:02d}-{self.course.task(number).name}"

    def _state(self, number: int) -> Path:
        """The one network after a task, for the next."""
        return self._place(number) / "state.safetensors"


def _effort(trained: list[Trained]) -> dict[str, Any]:
    return {
        "seconds": sum(each.progress.seconds for each in trained),
        "epochs": {each.name: each.progress.epoch for each in trained},
        "best_epochs": {each.name: each.progress.best_epoch + 1 for each in trained},
    }


def _trainable(lesson: Lesson, trained: list[Trained], learned: frozenset[str]) -> dict[str, Any]:
    """How much learned of all that answers the task, the item vectors counted or left out."""
    most = max((each.trainable for each in trained), default=0)
    total, table = sum(weight.numel() for weight in lesson.weights()), lesson.network.items.weight.numel()
    rest = most - table if "items.weight" in learned else most
    return {
        "trainable": most,
        "parameters": total,
        "trainable_share": most / total,
        "trainable_share_without_items": rest / (total - table),
    }


def _shared(network: UserNetwork) -> dict[str, Tensor]:
    """Item vectors and trunk: what answers every task."""
    every = network.named_parameters()
    return {name: weight.detach() for name, weight in every if name.startswith(("items.", "trunk."))}


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(each.numel() * each.element_size() for each in tensors.values())


def _restore_shared(network: UserNetwork, path: Path) -> None:
    """Raises RunError where the file is not what a network shares between its tasks."""
    found, wanted = _read(path), _shared(network).keys()
    if found.keys() != wanted:
        other = sorted(found.keys() ^ wanted)
        raise RunError(f"{path} is of another network: {len(other)} weights are only here or there, such as {other[0]}")
    with _named(path):
        network.load_state_dict(found, strict=False)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raises RunError, which names the file, where its weights have other shapes."""
    try:
        yield
    except RuntimeError as error:
        raise RunError(f"{path} is of another network: {error}") from None


def _read(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise RunError(f"{path} is missing or damaged: {error}") from None
    return tensors
