"""Raw files to :class:`~llmrec.interactions.Dataset`: one file per layout, found by what a folder holds.

A source has ``expects`` (the files in words), ``detect(folder) -> bool`` (is the layout complete there?) and
``read(folder, name) -> Dataset``. That of tables also has ``fault(folder) -> str``: why it cannot read the only table.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from llmrec import components
from llmrec.assets import ASSETS, fetch
from llmrec.errors import AssetError, DataError, nearest
from llmrec.interactions import Dataset
from llmrec.sources._described import ENDINGS, read_description

FOLDERS = {
    "amazon-office": "amazon-office-industrial",
    "amazon-industrial": "amazon-office-industrial",
    "tallrec-book": "tallrec",
}
"""Sets that share a folder of another name."""
_OPTIONS = (
    "Options such as columns stand under source: {name: table, ...} in a YAML file, as in configs/data/example.yaml."
)


def load_dataset(name: str, data_dir: Path | None = None) -> Dataset:
    """Reads a data set from a local folder or, without one, fetches a data set known by name.

    Args:
        name: how reports call the data set; without ``data_dir`` a named one, such as ``ml-100k``. A name that ends in
            ``.yaml`` is a file that says folder, source and options; ``data_dir`` then stands in for its folder.
        data_dir: the folder with the files, or its parent with a folder ``name`` inside.

    Raises:
        ConfigError: a YAML file that does not describe a data set.
        DataError: an unknown name, a folder in no known layout, or a fault in a file.
        AssetError: the named set is neither cached nor reachable, or is damaged.
    """
    if name.endswith(ENDINGS):
        return _described(Path(name), data_dir)
    if data_dir is not None:
        return _read(name, [data_dir, data_dir / FOLDERS.get(name, name)])
    named = [asset.name for asset in ASSETS.values() if asset.kind == "dataset"]
    if name not in named:
        raise DataError(f"no data set {name!r}{nearest(name, named)}; for files of your own add --data-dir FOLDER")
    folder = fetch(name)
    data = _read(name, [folder])
    if data.content_hash != ASSETS[name].content_hash:
        raise AssetError(
            f"{name} in {folder} is damaged: its content hash is {data.content_hash}, must be "
            f"{ASSETS[name].content_hash}; delete that folder and run again to fetch it anew"
        )
    return data


def _described(file: Path, data_dir: Path | None) -> Dataset:
    given = read_description(file)
    source, folder = components.create("sources", given.source), data_dir or given.folder
    if not folder.is_dir():
        raise DataError(f"{file}: the folder {folder} {_listing(folder)}")
    data: Dataset = source.read(folder, given.name)
    return data


def _read(name: str, folders: list[Path]) -> Dataset:
    sources = {source: components.load("sources", source)() for source in components.names("sources")}
    for folder in folders:
        if fitting := [source for source in sources if sources[source].detect(folder)]:
            data = sources[fitting[0]].read(folder, name)
            rest = [f"read as {fitting[0]}; the folder also fits {', '.join(fitting[1:])}"] if fitting[1:] else []
            return replace(data, notes=(*data.notes, *rest))
    raise DataError(_unrecognised(name, folders, sources))


def _unrecognised(name: str, folders: list[Path], sources: dict[str, Any]) -> str:
    places = "; ".join(f"{folder} {_listing(folder)}" for folder in folders)
    known = "\n".join(f"  {layout}: {source.expects}" for layout, source in sources.items())
    faults = [fault for folder in folders if (fault := sources["table"].fault(folder))]
    told = [f"The only table there cannot be read: {fault}.\n{_OPTIONS}\n" for fault in faults[:1]]
    return f"no data set {name!r} in a known layout: {places}.\n{''.join(told)}A folder must hold one of\n{known}"


def _listing(folder: Path) -> str:
    if not folder.is_dir():
        return "is not a folder" if folder.exists() else "does not exist"
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"holds {', '.join(names[:20])}{more}" if names else "is empty"
