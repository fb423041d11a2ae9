"""The runs of the study of P5 on MovieLens-100K: what items are called, and SASRec over ids beside them."""

from pathlib import Path

from eval import cells

CONFIG = Path(__file__).parent.parent / "configs" / "p5.yaml"
NAMES = {
    "collaborative": ("item_ids=collaborative",),
    "random": ("item_ids=random",),
    "sequential": ("item_ids=sequential",),
    "shuffled": ("item_ids.name=collaborative", "item_ids.shuffled=true"),
}
"""Options by kind of name. The last is the control: collaborative names dealt out anew, so that they mean nothing."""


def trained(data_dir: list[str], jobs: int, seeds: int) -> tuple[list[Path], list[Path]]:
    """Trains whatever is missing below runs/study, the same number of steps for every kind of name.

    Args:
        data_dir: flags of ``llmrec/train.py``.
        jobs: how many runs are trained at a time.
        seeds: of each kind.

    Returns:
        Folders of the runs that write names, and of those that compare vectors.
    """
    data = ("--data", "ml-100k", *data_dir)
    flags = ("--config", str(CONFIG), *data)
    systems = {name: cells.System(cells.trained(f"p5-{name}", *flags, *more)) for name, more in NAMES.items()}
    systems["sasrec"] = cells.System(cells.trained("p5-sasrec", *data))
    chosen = cells.choose(systems, jobs, range(seeds))
    folders = {name: [cell.folder for cell in each.runs if cell.folder] for name, each in chosen.items()}
    beside = folders.pop("sasrec")
    return [folder for each in folders.values() for folder in each], beside
