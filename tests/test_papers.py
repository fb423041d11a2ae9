"""The papers' benchmarks as files: options that runs have, the papers' figures, tables, and each on its miniature."""

import json
import math
import shutil
from functools import cache
from pathlib import Path

import miniature
import pytest
from tables import counted

from eval import cells, paper_cells, paper_files, paper_report, papers, transfer
from eval.paper_files import Benchmark, merged
from llmrec import train
from llmrec.errors import ConfigError, RunError
from llmrec.loading import repository_of
from llmrec.sources import load_dataset

NAMES = ("adapter4rec", "morec", "ninerec", "pixelrec", "tcf", "transrec")
USERS = [f"u{number}" for number in range(40)]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("miniatures")
    for name in ("mind", "bili", "pixelrec"):
        miniature.write(name, folder / name)
    for name in ("ninerec", "transrec"):
        miniature.write(name, folder)
    return folder


def copied(data: Path, folder: Path, *names: str) -> Path:
    for name in names:
        shutil.copytree(data / name, folder / name)
    return folder


paper = cache(paper_files.load)


def loaded(name: str) -> list[Benchmark]:
    """As in the paper, and small."""
    return [paper(name), paper(name).small()]


def published(name: str, target: str, system: str, metric: str = "HR@10") -> float:
    return paper(name).published.fractions(target)[system][metric]


# Files


def test_there_is_a_file_for_each_paper() -> None:
    assert paper_files.names() == sorted(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_a_file_is_one_that_its_runs_have(name: str, tmp_path: Path) -> None:
    for benchmark in loaded(name):
        study = paper_cells.Study(benchmark, tmp_path)
        for target in {json.dumps(each.model_dump()): target for target, each in benchmark.targets.items()}.values():
            found = {}
            for system in benchmark.systems_of(target):
                options = train.options_of(study.flags(target, system, 1))[0].resolved()
                found[system] = options.model_dump_json()
                begun = options.training.init_from
                assert (begun is not None) == (benchmark.systems[system].pretrained is not None)
                if begun is not None:
                    assert begun.name.startswith(f"{benchmark.name}-{benchmark.source_of(target)}-")
                assert options.protocol.mask_history and options.split["name"] == "leave_one_out"
                assert options.reads_items == bool(benchmark.reads(system))
            assert len(set(found.values())) == len(found), "no two systems are the same"


def test_a_system_has_the_options_of_all_parts_and_later_ones_win() -> None:
    whole = paper("morec")
    hm = whole.options("sasrec-resnet-50", "hm")
    assert hm["filter"] == {"min_history": 5, "max_history": 13} and hm["max_seq_len"] == 10
    assert hm["images"]["model"] == "resnet-50" and "model" not in hm
    assert whole.options("sasrec-id", "mind")["training"]["batch_size"] == 128
    assert whole.options("dssm-id", "mind")["head"] == {"name": "dssm_id", "num_layers": 0}
    adapted = paper("adapter4rec").options("sasrec-bert-adat", "adressa")
    assert adapted["tuning"]["name"] == "houlsby" and adapted["model"] == "bert-base"
    assert adapted["training"]["learns"] == "new" and adapted["training"]["batch_size"] == 32


def test_what_reads_items_learns_at_the_rates_of_the_papers() -> None:
    """MoRec's SASRec collapses from 1e-4 on; CPC begins at 5e-6 over texts, at 2e-4 over covers (seed_systems.md)."""
    whole = paper("morec")
    rates = []
    for target in whole.targets:
        for system in whole.systems_of(target):
            options = whole.options(system, target)
            tunings = [options.get("tuning"), options.get("images", {}).get("tuning")]
            rates += [each["learning_rate"] for each in tunings if each and each["name"] != "frozen"]
    assert len(rates) > 5 and max(rates) < 1e-4
    adapted = paper("adapter4rec")
    for system in ("cpc-bert", "cpc-roberta"):
        options = adapted.options(system, "adressa")
        assert (options["training"]["learning_rate"], options["tuning"]["learning_rate"]) == (5e-6, 5e-6)
        gone_on = adapted.options(f"{system}-fta", "adressa")
        assert (gone_on["training"]["learning_rate"], gone_on["tuning"]["learning_rate"]) == (5e-5, 5e-5)
        assert adapted.options(f"{system}-adat", "adressa")["tuning"]["learning_rate"] == 1.5e-4
    for system in ("cpc-vit", "cpc-mae"):
        options = adapted.options(system, "amazon")
        assert (options["training"]["learning_rate"], options["images"]["tuning"]["learning_rate"]) == (2e-4, 2e-4)
        assert "tuning" not in options and options["head"]["name"] == "cpc"


CHECKPOINTS = {
    "adapter4rec": {
        "bert": "google-bert/bert-base-uncased",
        "roberta": "FacebookAI/roberta-base",
        "vit": "google/vit-base-patch16-224",
        "mae": "facebook/vit-mae-base",
    },
    "morec": {
        "bert-small": "google/bert_uncased_L-4_H-512_A-8",
        "bert-base": "google-bert/bert-base-uncased",
        "roberta": "FacebookAI/roberta-base",
        "resnet-50": "microsoft/resnet-50",
        "swin-tiny": "microsoft/swin-tiny-patch4-window7-224",
        "swin-base": "microsoft/swin-base-patch4-window7-224",
    },
    "ninerec": {"text": "hfl/chinese-bert-wwm-ext", "image": "microsoft/swin-base-patch4-window7-224-in22k"},
    "pixelrec": {
        "resnet-50": "microsoft/resnet-50",
        "vit": "openai/clip-vit-base-patch32",
        "beit": "microsoft/beit-base-patch16-224",
        "swin-base": "microsoft/swin-base-patch4-window7-224",
        "swin-tiny": "microsoft/swin-tiny-patch4-window7-224",
    },
    "transrec": {"text": "google-bert/bert-base-chinese", "image": "microsoft/resnet-18"},
}
"""What the authors' READMEs and code load; of ResNets, which they take from torchvision, the hub's."""
OVER_COVERS = {
    "microsoft/resnet-50": 2.54,
    "openai/clip-vit-base-patch32": 2.583,
    "microsoft/swin-tiny-patch4-window7-224": 2.56,
    "microsoft/swin-base-patch4-window7-224": 2.83,
    "microsoft/beit-base-patch16-224": 2.68,
}
"""PixelRec's Recall@10 of SASRec, in percent (seed_systems.md); 2.633 is of RN50, CLIP's ResNet."""


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_items_are_read_by_the_checkpoints_of_the_papers(name: str) -> None:
    models = {part: item.get("images", item)["model"] for part, item in paper(name).items.items()}
    assert {part: repository_of(model) for part, model in models.items()} == CHECKPOINTS[name]


def test_a_figure_over_covers_stands_beside_the_model_that_it_was_measured_with() -> None:
    whole = paper("pixelrec")
    figures = whole.published.fractions("Pixel200K")
    reads = {name: CHECKPOINTS["pixelrec"][part] for name in figures for part in whole.reads(name)}
    over_sasrec = {model: 100 * figures[name]["HR@10"] for name, model in reads.items() if name.startswith("sasrec")}
    assert over_sasrec == pytest.approx(OVER_COVERS)
    others = {model for name, model in reads.items() if not name.startswith("sasrec")}
    assert others == {"openai/clip-vit-base-patch32"}, "the other networks are printed over CLIP's models alone"


def test_user_networks_are_those_of_the_released_files() -> None:
    """A NextItNet's authors count pairs of blocks, dilated by 1 and 4."""
    whole = paper("pixelrec")
    wanted = {
        "dssm": {"name": "dssm", "num_layers": 0, "dropout": 0},
        "nextitnet": {"name": "nextitnet", "num_layers": 6},
        "bert4rec": {
            "name": "bert4rec",
            "num_layers": 2,
            "num_heads": 4,
            "dropout": 0.1,
            "mask_share": 0.6,
            "last_share": 0,
        },
    }
    for ending in ("id", "vit"):
        found = {name: whole.options(f"{name}-{ending}", "Pixel200K") for name in ("gru4rec", *wanted)}
        assert {name: found[name]["head"] for name in wanted} == wanted
        width = {"id": 2048, "vit": 512}[ending]
        head = {"name": "gru4rec", "num_layers": 1, "hidden_dim": width, "dropout": 0}
        assert (found["gru4rec"]["embedding_dim"], found["gru4rec"]["head"]) == (width, head)
        assert [found[name]["embedding_dim"] for name in wanted] == [4096, 1024, 512]
        decays = {"gru4rec": 0.01, "dssm": 0, "nextitnet": 0.01, "bert4rec": 0.1}
        assert {name: options["training"]["weight_decay"] for name, options in found.items()} == decays
    nine = paper("ninerec")
    layers = {name: nine.options(name, "QB")["head"]["num_layers"] for name in ("gru4rec-id", "nextitnet-id")}
    assert layers == {"gru4rec-id": 2, "nextitnet-id": 4}
    rates = {name: nine.options(name, "QB")["training"]["learning_rate"] for name in ("sasrec-text", "sasrec-image")}
    assert rates == {"sasrec-text": 5e-5, "sasrec-image": 1e-4}
    over_text = nine.options("gru4rec-text-pretrained", "QB")
    assert (over_text["model"], over_text["tuning"]["learning_rate"]) == ("hfl/chinese-bert-wwm", 5e-5)


def test_what_is_exchanged_takes_its_options_with_it() -> None:
    head = {"head": {"name": "sasrec", "num_layers": 2}}
    assert merged(head, {"head": {"num_layers": 1}}) == {"head": {"name": "sasrec", "num_layers": 1}}
    assert merged(head, {"head": {"name": "gru4rec"}}) == {"head": {"name": "gru4rec"}}
    assert merged(head, {"head": "cpc"}) == {"head": "cpc"}
    assert head == {"head": {"name": "sasrec", "num_layers": 2}}


def test_the_figures_are_those_of_the_papers() -> None:
    for target, gain in (("Bili_Food", 19.59 - 18.03), ("KU", 31.36 - 30.77), ("DY", 14.49 - 14.35)):
        text = [published("ninerec", target, f"sasrec-text{ending}") for ending in ("-pretrained", "")]
        assert 100 * (text[0] - text[1]) == pytest.approx(gain)
    gains = {
        target: [
            published("ninerec", target, f"sasrec-{what}-pretrained") - published("ninerec", target, f"sasrec-{what}")
            for what in ("text", "image")
        ]
        for target in miniature.TARGETS
    }
    assert [target for target, (text, _) in gains.items() if text <= 0] == []
    assert [target for target, (_, image) in gains.items() if image <= 0] == ["KU"]
    ratio = published("transrec", "TN-mixed", "mixture-pretrained") / published("transrec", "TN-mixed", "mixture")
    assert ratio == pytest.approx(0.0478 / 0.0428)
    assert published("transrec", "DouYin", "sasrec-id", "nDCG@5") == 0.0014
    assert published("morec", "mind", "sasrec-roberta") == pytest.approx(0.1868)
    assert published("morec", "bili", "dssm-resnet-50", "nDCG@10") == pytest.approx(0.0018)
    more = published("tcf", "mind", "sasrec-opt-66b-top") - published("tcf", "mind", "sasrec-id")
    assert 100 * more == pytest.approx(21.07 - 20.05)
    assert published("tcf", "bili", "sasrec-bert-large", "nDCG@10") == pytest.approx(0.0183)
    assert list(paper("tcf").published.fractions("hm")["sasrec-mistral-7b"]) == ["nDCG@10"]
    gain = published("morec", "mind", "sasrec-roberta-in-batch") - published("morec", "mind", "sasrec-id-in-batch")
    assert 100 * gain == pytest.approx(23.00 - 22.60)
    learned = published("morec", "hm", "sasrec-resnet-50") - published("morec", "hm", "sasrec-resnet-50-frozen")
    assert 100 * learned == pytest.approx(6.67 - 4.03)
    lost = published("adapter4rec", "amazon", "sasrec-vit-fta") - published("adapter4rec", "amazon", "sasrec-vit-adat")
    assert 100 * lost == pytest.approx(29.00 - 27.66)
    assert published("pixelrec", "Pixel200K", "sasrec-id") == pytest.approx(0.025)
    assert published("pixelrec", "Pixel200K", "bert4rec-vit", "nDCG@10") == pytest.approx(0.0123)
    assert paper("ninerec").small().published.fractions("KU") == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"papers": "x"}, "papers: Extra inputs are not permitted"),
        ({"systems": {"a": {"reads": "txt"}}}, r"systems.a.reads: there is no 'txt'; did you mean 'text'"),
        ({"systems": {"a": {"pretrained": "b"}}}, r"systems.a.pretrained: there is no 'b' \(have: a\)"),
        ({"targets": {"QB": {"sytems": []}}}, "targets.QB.sytems: Extra inputs"),
        (
            {"published": {"unit": "percent", "metrics": ["HR@10"], "figures": {"QA": {}}}},
            r"published.figures: there is no 'QA' \(have: QB\)",
        ),
        (
            {"published": {"unit": "percent", "metrics": ["HR@10"], "figures": {"QB": {"b": [1.0]}}}},
            r"published.figures.QB: there is no 'b' \(have: a\)",
        ),
        (
            {"published": {"unit": "percent", "metrics": ["HR@10"], "figures": {"QB": {"a": {"HR@5": 1.0}}}}},
            r"figures.QB.a: 'HR@5' is none of the metrics \(HR@10\)",
        ),
        (
            {"published": {"unit": "percent", "metrics": ["HR@10"], "figures": {"QB": {"a": [1.0, 2.0]}}}},
            "figures.QB.a: 2 figures, 1 metrics",
        ),
    ],
)
def test_a_fault_in_a_file_is_named(change: dict, message: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(paper_files, "FOLDER", tmp_path)
    whole = {
        "paper": "A paper",
        "protocol": {},
        "settings": {},
        "items": {"text": {}},
        "systems": {"a": {}},
        "targets": {"QB": {}},
        "published": {"unit": "percent", "metrics": ["HR@10"]},
        "miniature": {"systems": {"a": {}}},
    }
    (tmp_path / "mine.yaml").write_text(json.dumps(whole), encoding="utf-8")
    assert paper_files.load("mine").systems_of("QB") == ["a"]
    (tmp_path / "mine.yaml").write_text(json.dumps({**whole, **change}), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        paper_files.load("mine")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--benchmark", "ninrec"], "no benchmark 'ninrec'; did you mean 'ninerec'"),
        (["--benchmark=ninerec", "--systems", "sasrec-txt"], "no system 'sasrec-txt'; did you mean 'sasrec-text'"),
        (["--benchmark", "ninerec", "--targets", "QBB"], "no target 'QBB'; did you mean 'QB'"),
        (["head.layers=2", "--benchmark", "ninerec", "--systems", "sasrec-id"], "has no option 'layers'"),
        (["--benchmark", "ninerec", "--targets", "KU"], "no data set to run the benchmark ninerec on: KU: "),
        (
            ["--benchmark=adapter4rec", "--targets=adressa", "--systems", "sasrec-vit"],
            "runs none of sasrec-vit on adressa",
        ),
        (["files.columns=user", "--benchmark", "ninerec"], "source 'ninerec': columns: Input should be 'auto'"),
        (["files.language=english", "--benchmark", "tcf"], "has no 'name' (have: "),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_is_trained(words, message, tmp_path: Path, capsys) -> None:
    assert transfer.main([*words, "--data-dir", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/study/*-s0"))


@pytest.mark.slow
def test_a_file_says_in_which_language_titles_are(data: Path) -> None:
    for benchmark, script in zip(loaded("ninerec"), (False, True)):
        name, folder = paper_cells.Study(benchmark, data)._place("KU")
        read = load_dataset(name, folder)
        assert read.name == "KU" and read.items["title"][0].isascii() == script
    study = paper_cells.Study(paper("ninerec"), data, files={"language": "english"})
    file, folder = study._place("KU")
    assert load_dataset(file, folder).items["title"][0].isascii()
    assert file != name.replace("-miniature", ""), "a cell over Chinese titles stands for none over English ones"


def test_the_order_of_columns_can_be_said(data: Path, tmp_path: Path) -> None:
    """Where users are numbered as items are, nothing tells which column has them."""
    copied(data, tmp_path, "KU")
    pairs, items = (tmp_path / "KU" / f"KU_{what}.csv" for what in ("pair", "item"))
    pairs.write_text(pairs.read_text().replace("v", "").replace("u", ""))
    rows = items.read_text().replace("v", "")
    known = {row.split(",")[0] for row in rows.splitlines()}
    users = {row.split(",")[1] for row in pairs.read_text().splitlines()}
    items.write_text(rows + "".join(f"{user},,A film\n" for user in sorted(users - known)))
    wanted = {"KU": ["sasrec-id"]}
    fault = paper_cells.Study(paper("ninerec"), tmp_path).lacking(wanted)["KU"]["sasrec-id"]
    assert "columns" in fault
    told = paper_cells.Study(paper("ninerec"), tmp_path, files={"columns": "item_user_time"})
    assert told.lacking(wanted) == {"KU": {}}
    assert load_dataset(*told._place("KU")).interactions["user"].n_unique() == 200


@pytest.mark.slow
def test_what_the_folder_lacks_is_left_out_with_the_systems_that_read_it(data: Path, tmp_path: Path) -> None:
    copied(data, tmp_path, "KU", "TN", "QB", "Bili_500K")
    study = paper_cells.Study(paper("ninerec"), tmp_path)
    every = [*paper("ninerec").systems]
    assert study.lacking({"KU": every}) == {"KU": {}}
    (tmp_path / "TN" / "TN_item.csv").unlink()
    shutil.rmtree(tmp_path / "QB" / "QB_cover")
    lacking = study.lacking({"KU": every, "TN": ["sasrec-id"], "QB": every})
    assert lacking["KU"] == {} and lacking["TN"]["sasrec-id"].startswith("TN: ")
    seen = ["sasrec-image", "sasrec-image-pretrained"]  # a mixture reads what there is
    assert lacking["QB"] == dict.fromkeys(seen, "QB: there is no folder of covers")
    shutil.rmtree(tmp_path / "Bili_500K" / "Source_Bili_2M_cover")
    begun = [name for name in seen if name.endswith("-pretrained")]
    assert study.lacking({"KU": every})["KU"] == dict.fromkeys(begun, "Bili_500K: there is no folder of covers")
    (tmp_path / "Bili_500K" / "Bili_500K_item.csv").unlink()
    lacking = study.lacking({"KU": every})
    assert list(lacking["KU"]) == [name for name in every if name.endswith("-pretrained")]
    assert all(why.startswith("Bili_500K: ") for why in lacking["KU"].values())


def test_a_folder_in_no_known_layout_is_told_in_a_whole_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("a,b\n", encoding="utf-8")
    told = paper_cells.Study(paper("morec"), tmp_path).lacking({"mind": ["sasrec-id"]})["mind"]["sasrec-id"]
    assert told == (
        f"mind: no data set 'mind' in a known layout: {tmp_path} holds notes.csv; {tmp_path}/mind does not exist. "
        f"'llmrec data check mind --data-dir {tmp_path}' tells the rest."
    )


@pytest.mark.slow
def test_what_cannot_be_trained_stops_nothing_else(data: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """The source's run is tried once, whatever goes on from it."""
    copied(data, tmp_path, "KU", "DY", "Bili_500K")
    shutil.rmtree(tmp_path / "DY" / "DY_cover")
    begun: list[str] = []

    def trained(name: str, *flags: str) -> cells.Train:
        begun.append(name)
        if name.endswith(("KU-sasrec-image", "Bili_500K-sasrec-text")):
            raise RunError("no memory is left")
        return lambda setting, seed: runs(1)

    monkeypatch.setattr(cells, "trained", trained)
    monkeypatch.setattr(cells, "baselines", lambda chosen, reads: {})
    systems = ["sasrec-id", "sasrec-image", "sasrec-text-pretrained"]
    flags = ["--data-dir", str(tmp_path), "--seeds", "1", "--output", str(tmp_path / "out")]
    words = ["--benchmark", "ninerec", "--targets", "KU", "DY", "--systems", *systems]
    assert papers.main([*words, *flags]) == 2
    assert begun.count("ninerec-Bili_500K-sasrec-text") == 1
    failed = ["KU-sasrec-image", "Bili_500K-sasrec-text", "KU-sasrec-text-pretrained", "DY-sasrec-text-pretrained"]
    error = capsys.readouterr().err
    assert "4 cells ended with an error" in error and all(f"ninerec-{name}-s0" in error for name in failed)
    groups = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["groups"]
    assert {target: [row["name"] for row in group["rows"]] for target, group in groups.items()} == {
        "KU": ["sasrec-id"],
        "DY": ["sasrec-id"],
    }
    assert groups["DY"]["missing"] == {
        "sasrec-image": "DY: there is no folder of covers",
        "sasrec-text-pretrained": "no memory is left",
    }
    text = (tmp_path / "out.md").read_text(encoding="utf-8")
    assert "- Missing: sasrec-image, because DY: there is no folder of covers\n" in text
    assert "- Missing: sasrec-text-pretrained, sasrec-image, because no memory is left\n" in text


# Tables


def runs(places: int, seed: int = 0) -> cells.Cell:
    """A cell whose targets all stand at one place, over 40 users."""
    return cells.Cell({}, seed, 0.5, counted([(user, places, 0) for user in USERS], seed=seed))


def reported(monkeypatch: pytest.MonkeyPatch) -> paper_report.Report:
    monkeypatch.setattr(cells, "baselines", lambda chosen, reads: {})
    places = {"sasrec-id": 20, "sasrec-text": 3, "sasrec-text-pretrained": 1, "mixture": 0, "mixture-pretrained": 0}
    return paper_report.Report(
        paper("ninerec"), "QB", {name: [runs(place)] for name, place in places.items()}, {"gru4rec-id": "it is late"}
    )


def test_what_goes_on_is_tested_against_what_does_not_and_both_against_one(monkeypatch) -> None:
    assert reported(monkeypatch).pairs == [
        ("sasrec-text-pretrained", "sasrec-text"),
        ("mixture-pretrained", "mixture"),
        ("mixture", "sasrec-text"),
        ("mixture-pretrained", "sasrec-text-pretrained"),
    ]


def test_rows_that_compare_vectors_of_texts_are_called_after_the_text_alone(monkeypatch) -> None:
    """A mixture's cosine knows nothing of images."""
    made_of = []
    monkeypatch.setattr(cells, "baselines", lambda chosen, reads: made_of.append(reads) or {})
    paper_report.Report(paper("ninerec"), "QB", {name: [runs(1)] for name in ("sasrec-id", "mixture", "sasrec-image")})
    assert made_of == ["", "text", ""]
    made_of.clear()
    paper_report.Report(paper("morec"), "mind", {"sasrec-bert-base": [runs(1)]})
    assert made_of == [paper("morec").reads("sasrec-bert-base")[0]]


def test_tables_have_the_papers_figures_beside_ours(monkeypatch, tmp_path: Path) -> None:
    found, benchmark = reported(monkeypatch), paper("ninerec")
    text = paper_report.text(benchmark, [found], {"TN": "TN: there is nothing"})
    assert "| system | HR@10 | nDCG@10 | HR@10 of the paper |" in text
    assert "| sasrec-id | .0000 [.0000, .0000] | .0000 [.0000, .0000] | .3392 |" in text
    assert "| bert4rec-text-pretrained |  |  | .3340 |" in text
    assert "| mixture-pretrained - mixture | +.0000 [+.0000, +.0000] | not worse |" in text
    assert "| sasrec-text-pretrained - sasrec-text | +.2003 [+.2003, +.2003] | beats |" in text  # 1/log2(3) - 1/log2(5)
    for note in (
        "Missing: gru4rec-id, because it is late",
        "No data of TN: TN: there is nothing",
        "\n- sasrec-text: seeds 0",
        benchmark.departures[0],
        *paper_files.COMMON,
    ):
        assert note in text
    for width in (80, 120):
        shown = paper_report.show(benchmark, [found], {}, width)
        assert max(map(len, shown.splitlines())) <= width and "…" not in shown
    paper_report.save(benchmark, [found], {}, tmp_path / "out")
    group = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["groups"]["QB"]
    assert group["published"]["sasrec-id"] == {"HR@10": pytest.approx(0.3392)}
    assert group["missing"] == {"gru4rec-id": "it is late"}
    assert group["protocol"]["k"] == 10 and len(group["rows"]) == 5
    paper_report.save(benchmark, [paper_report.Report(benchmark, "KU", {}, {"a": "b"})], {}, tmp_path / "none")
    assert not (tmp_path / "none.md").exists()


def test_metrics_that_the_paper_prints_stand_beside_ours(tmp_path: Path, monkeypatch) -> None:
    """At the fourth place a target is a hit among five, at the eighth among ten only."""
    monkeypatch.setattr(cells, "baselines", lambda chosen, reads: {})
    benchmark = paper("transrec")
    found = {"mixture": [runs(3)], "sasrec-id": [runs(7)]}
    reports = [paper_report.Report(benchmark, target, found) for target in ("TN-text", "DouYin")]
    text = paper_report.text(benchmark, reports, {})
    ours = ["HR@5", "nDCG@5", "HR@10", "nDCG@10"]
    heads = " | ".join([*ours, *(f"{metric} of the paper" for metric in ours)])
    assert text.count(f"| system | {heads} |") == 2 and f"| system | {' | '.join(ours)} |" in text
    fourth, eighth = (f"{1 / math.log2(1 + place):.4f}".removeprefix("0") for place in (4, 8))
    assert f"| mixture | 1.0000 | {fourth} | 1.0000 | {fourth} |" in text
    assert f"| sasrec-id | .0000 | .0000 | 1.0000 | {eighth} |" in text
    paper_report.save(benchmark, reports, {}, tmp_path / "out")
    row = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["groups"]["TN-text"]["rows"][1]
    assert row["metrics"]["HR@5"]["value"] == 0.0 and row["metrics"]["MRR@10"]["value"] == pytest.approx(1 / 8)


@pytest.mark.slow
def test_several_data_sets_have_a_mean_and_a_count_of_verdicts(monkeypatch, tmp_path: Path) -> None:
    first, benchmark = reported(monkeypatch), paper("ninerec")
    other = paper_report.Report(
        benchmark, "KU", {"sasrec-text": [runs(0)], "sasrec-text-pretrained": [runs(3)], "mixture": [runs(9)]}
    )
    text = paper_report.text(benchmark, [first, other], {})
    means, rest = text.split("**QB**")
    assert "**mean over 2 data sets**" in means and "**KU**" in rest
    for name, places in {"sasrec-text": (4, 1), "sasrec-text-pretrained": (2, 4)}.items():
        expected = sum(1 / math.log2(1 + place) for place in places) / 2
        assert f"| {name} | 1.0000 | {expected:.4f} |".replace("| 0.", "| .") in means
    assert "| sasrec-id |" not in means and "mixture-pretrained |" not in means
    assert "- No mean, for want of a row on each of them: sasrec-id, mixture-pretrained." in means
    assert "| sasrec-text-pretrained - sasrec-text | 1 | 0 | 1 |" in means
    paper_report.save(benchmark, [first, other], {}, tmp_path / "out")
    saved = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert saved["means"]["mixture"]["HR@10"] == pytest.approx(1.0) and set(saved["groups"]) == {"QB", "KU"}
    assert saved["verdicts"]["sasrec-text-pretrained - sasrec-text"] == {"beats": 1, "not worse": 0, "worse": 1}
    assert "mean over" not in paper_report.text(benchmark, [first], {}), "of one there is none"
    assert max(map(len, paper_report.show(benchmark, [first, other], {}, 80).splitlines())) <= 80


# Miniatures


QUICK = ("training.epochs=1", "training.warmup_steps=1")
FEW = "training.users=20"


def run(name: str, folder: Path, output: Path, *words: str) -> dict:
    flags = ["--benchmark", name, "--miniature", "--data-dir", str(folder), "--seeds", "1", "--output", str(output)]
    assert papers.main([*QUICK, *flags, *words]) == 0
    groups: dict = json.loads(output.with_name(output.name + ".json").read_text(encoding="utf-8"))["groups"]
    return groups


def trained(group: dict) -> list[str]:
    return [row["name"] for row in group["rows"] if row["seconds"] is not None]


@pytest.mark.slow
def test_pixels_on_a_miniature_and_cells_are_found_again(data: Path, tmp_path: Path, capsys, cells_here) -> None:
    words = [FEW, "--systems", "sasrec-id", "gru4rec-vit", "sasrec-resnet-50"]
    groups = run("pixelrec", data, tmp_path / "a", *words)
    assert trained(groups["pixelrec"]) == ["sasrec-id", "gru4rec-vit", "sasrec-resnet-50"]
    assert {"random", "popularity"} <= {row["name"] for row in groups["pixelrec"]["rows"]}
    again = run("pixelrec", data, tmp_path / "b", *words, "--minutes", "0")
    assert again["pixelrec"]["rows"] == groups["pixelrec"]["rows"]
    assert "Missing" not in capsys.readouterr().out


@pytest.mark.slow
def test_covers_go_on_whole_and_by_adapters_alone(data: Path, tmp_path: Path, cells_here) -> None:
    groups = run("adapter4rec", data, tmp_path / "out", FEW, "--targets", "pixelrec")
    assert trained(groups["pixelrec"]) == ["sasrec-vit", "sasrec-vit-fta", "sasrec-vit-adat"]
    learned = {row["name"]: row["trainable_parameters"] for row in groups["pixelrec"]["rows"]}
    assert learned["sasrec-vit-adat"] < 0.2 * learned["sasrec-vit-fta"] == 0.2 * learned["sasrec-vit"]
    tested = [(test["first"], test["second"]) for test in groups["pixelrec"]["paired_tests"]]
    assert ("sasrec-vit-adat", "sasrec-vit") in tested


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "target", "systems"),
    [
        ("ninerec", "TN", ["gru4rec-id", "nextitnet-id", "sasrec-id", "sasrec-image"]),
        pytest.param("ninerec", "Bili_Food", ["sasrec-text"], marks=pytest.mark.network),
        pytest.param("transrec", "TN-mixed", ["sasrec-id", "mixture"], marks=pytest.mark.network),
        ("morec", "bili", ["dssm-resnet-50"]),
    ],
)
def test_every_kind_of_system_learns_from_nothing(name, target, systems, data: Path, tmp_path: Path, cells_here):
    few = [] if "dssm-resnet-50" in systems else [FEW]  # it has a table of users and recommends to no other
    words = (*few, "--targets", target, "--systems", *systems)
    assert trained(run(name, data, tmp_path / "out", *words)[target]) == systems


@pytest.mark.slow
def test_user_networks_that_no_miniature_has_run_at_a_small_width(data: Path, tmp_path: Path, cells_here) -> None:
    copied(data, tmp_path, "pixelrec")
    (tmp_path / "pixelrec").rename(tmp_path / "Pixel200K")
    eye = 'images={"model": "resnet-mini", "size": 16, "tuning": {"name": "full"}}'
    systems = {"id": ["dssm-id", "nextitnet-id", "bert4rec-id"], eye: ["dssm-vit", "nextitnet-vit", "bert4rec-vit"]}
    for what, names in systems.items():
        words = [*QUICK, FEW, "embedding_dim=32", *([] if what == "id" else [what])]
        flags = ["--data-dir", str(tmp_path), "--seeds", "1", "--output", str(tmp_path / "out"), "--systems", *names]
        assert papers.main(["--benchmark", "pixelrec", *words, *flags]) == 0
        groups = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["groups"]
        assert trained(groups["Pixel200K"]) == names


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "words", "found"),
    [
        (
            "morec",
            ["--systems", "sasrec-bert-base", "sasrec-resnet-50", "dssm-id"],
            {"mind": ["sasrec-bert-base", "dssm-id"], "bili": ["sasrec-resnet-50", "dssm-id"]},
        ),
        (
            "tcf",
            ["--systems", "sasrec-opt-125m", "sasrec-opt-125m-top"],
            {target: ["sasrec-opt-125m", "sasrec-opt-125m-top"] for target in ("mind", "bili")},
        ),
        (
            "transrec",
            ["--targets", "TN-video", "TN-text", "--systems", "mixture-pretrained"],
            {target: ["mixture-pretrained"] for target in ("TN-video", "TN-text")},
        ),
        (
            "ninerec",
            ["--targets", "QB", "DY", "--systems", "mixture", "mixture-pretrained"],
            {target: ["mixture", "mixture-pretrained"] for target in ("QB", "DY")},
        ),
        (
            "adapter4rec",
            ["training.users=40", "--targets", "bili"],
            {"bili": ["sasrec-bert", "sasrec-bert-fta", "sasrec-bert-adat"]},
        ),
    ],
)
def test_a_benchmark_runs_on_its_miniature(name: str, words, found, data: Path, tmp_path: Path, cells_here) -> None:
    groups = run(name, data, tmp_path / "out", *words)
    assert {target: trained(group) for target, group in groups.items()} == found
    assert all(group["missing"] == {} for group in groups.values())
