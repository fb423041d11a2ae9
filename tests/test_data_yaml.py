"""Data sets that a YAML file describes: any source, its options, and what a run of one is called."""

from pathlib import Path

import pytest
from conftest import ROOT

from llmrec import config
from llmrec.errors import ConfigError, DataError
from llmrec.interactions import Dataset
from llmrec.sources import load_dataset


def write(folder: Path, text: str, name: str = "log.csv") -> None:
    (folder / name).write_text(text, encoding="utf-8")


def rows(data: Dataset) -> list[tuple[str, str, int]]:
    """User, item and time, in the order of the data set."""
    log = data.interactions
    users, items = data.user_ids[log["user"].to_numpy()], data.item_ids[log["item"].to_numpy()]
    return list(zip(users, items, log["timestamp"].to_list()))


def shop(folder: Path, yaml: str) -> str:
    (folder / "tables").mkdir(exist_ok=True)
    write(folder / "tables", "customer;sku;bought\nu;b;2\nu;a;1\n")
    (folder / "shop.yaml").write_text(yaml, encoding="utf-8")
    return str(folder / "shop.yaml")


def test_a_yaml_file_describes_a_data_set_with_any_source(tmp_path, toy_folder):
    names = "{user_id: customer, item_id: sku, timestamp: bought}"
    file = shop(tmp_path, f"folder: tables\nsource:\n  name: table\n  separator: ';'\n  columns: {names}\n")
    data = load_dataset(file)
    assert (data.name, rows(data)) == ("shop", [("u", "a", 1), ("u", "b", 2)])
    (tmp_path / "other").mkdir()
    write(tmp_path / "other", "customer;sku;bought\nv;c;3\n")
    assert rows(load_dataset(file, tmp_path / "other")) == [("v", "c", 3)]
    other = shop(tmp_path, f"name: toy\nfolder: {toy_folder}\nsource: recbole\n")
    assert load_dataset(other).content_hash == load_dataset("toy", toy_folder).content_hash


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("source:\n  name: table\n  time: years\n", "shop.yaml: source 'table': time: Input should be"),
        ("source:\n  name: table\n  colums: {}\n", "has no option 'colums'; did you mean 'columns'?"),
        ("source: tabel\n", "shop.yaml: no source 'tabel'; did you mean 'table'?"),
        ("sources: table\n", "shop.yaml: there is no key 'sources'; did you mean 'source'?"),
        ("name: shop\n", "shop.yaml: says no source (have: "),
        ("- table\n", "shop.yaml must hold name, folder, source, holds list"),
        ("source: [\n", "shop.yaml cannot be read as YAML"),
    ],
)
def test_a_yaml_file_that_describes_nothing_is_refused(tmp_path, yaml, message):
    with pytest.raises(ConfigError) as error:
        load_dataset(shop(tmp_path, yaml))
    assert message in str(error.value)


def test_a_yaml_file_that_is_not_there_is_named_with_its_neighbours(tmp_path):
    shop(tmp_path, "source: table\n")
    with pytest.raises(ConfigError, match=r"no file .*shpo.yaml'; did you mean .*shop.yaml'"):
        load_dataset(str(tmp_path / "shpo.yaml"))


def test_a_run_of_a_yaml_data_set_has_its_name_in_the_folder():
    options = config.load(None, [], {"data": "configs/data/example.yaml"}).resolved()
    assert options.folder == Path("runs/example-sasrec-id-softmax-s0")


def test_the_example_can_be_read_with_tables_like_its_own(tmp_path):
    write(tmp_path, "customer,sku,bought\nu,2,2024-05-02\nu,1,2024-05-01\n", "orders.csv")
    write(tmp_path, "sku,label\n1,Tea\n2,Pot\n", "products.csv")
    data = load_dataset(str(ROOT / "configs" / "data" / "example.yaml"), tmp_path)
    assert (data.name, data.items["title"].to_list()) == ("example", ["Tea", "Pot"])
    assert [item for _, item, _ in rows(data)] == ["1", "2"]


def test_a_folder_that_is_not_there_is_not_called_empty(tmp_path):
    file = shop(tmp_path, "folder: nowhere\nsource: recbole\n")
    with pytest.raises(DataError, match=r"shop.yaml: the folder .*nowhere does not exist"):
        load_dataset(file)
