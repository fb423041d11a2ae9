"""P5's training examples as a data set of Hugging Face on disk, for other trainers."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from llmrec import preparation
from llmrec.config import RunConfig
from llmrec.errors import ConfigError
from llmrec.generative import making
from llmrec.generative.batches import windows
from llmrec.generative.examples import Examples
from llmrec.sources import load_dataset

COLUMNS = ("input", "target", "prompt", "user_id", "item_id")


def export(options: RunConfig, folder: Path, epochs: int) -> int:
    """Writes what a run would train on, epoch after epoch, for ``datasets.load_from_disk``; nothing that is held out.

    Within an epoch the examples stand in the order in which they are drawn; a run puts those of like length together.

    Args:
        options: of the run, resolved.
        folder: to write; either all of it appears or nothing.
        epochs: how many, from 0 on as in ``metrics.jsonl``; each draws other examples.

    Returns:
        The number of examples.

    Raises:
        ConfigError: the folder is there already, or the options are not those of a run that writes names.
        DataError: data that the filter or the split refuses, or without reviews to derive explanations from.
    """
    import datasets
    import pyarrow

    if options.p5 is None:
        raise ConfigError("these options have no p5, so there are no examples of it; take --config configs/p5.yaml")
    if epochs < 1:
        raise ConfigError(f"--epochs must be at least 1, came {epochs}")
    if folder.exists():
        raise ConfigError(f"{folder} is there already; name another folder or delete it")
    making.check(options)
    _, split = preparation.divided(options, load_dataset(options.data, options.data_dir))
    _, examples = making.examples_of(options, split)
    schema = pyarrow.schema([*((column, pyarrow.string()) for column in COLUMNS), ("epoch", pyarrow.int64())])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as place:
        stream, whole = Path(place) / "stream.arrow", Path(place) / "data"
        with pyarrow.ipc.new_stream(str(stream), schema) as file:
            for epoch in range(epochs):
                for table in _tables(examples, epoch, options.training.batch_size):
                    file.write_table(pyarrow.table(table, schema=schema))
        rows = datasets.Dataset.from_file(str(stream))
        rows.save_to_disk(whole)
        whole.rename(folder)
    return len(rows)


def _tables(examples: Examples, epoch: int, batch_size: int) -> Iterator[dict[str, list[str] | list[int]]]:
    """Columns of the examples of each window, as training writes them."""
    data, train = examples.split.dataset, examples.split.train
    for window, drawn in enumerate(windows(examples.epoch(epoch), batch_size)):
        if not (written := examples.written(drawn, (epoch, window))):
            continue  # of none of them a target is known
        rows, inputs, targets = zip(*written, strict=True)
        own = drawn[list(rows)].tolist()
        yield {
            "input": list(inputs),
            "target": list(targets),
            "prompt": [examples.prompts[prompt].name for _, prompt, _ in own],
            "user_id": [data.user_ids[examples.users[user]] for user, _, _ in own],
            "item_id": [data.item_ids[train[user][place]] for user, _, place in own],
            "epoch": [epoch] * len(own),
        }
