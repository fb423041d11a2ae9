"""Runs over images and over texts and images, from files to a saved recommender that ranks new items too."""

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import small_runs
import tiny_eyes
import tiny_models
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from small_runs import QUICK

from llmrec import filtering, preparation, train, transforms
from llmrec.errors import ConfigError, DataError, LlmrecError, RunError
from llmrec.optimizer import parameter_groups
from llmrec.options import FilterOptions, ImageOptions
from llmrec.recommender import Recommender
from llmrec.runs import RunFolder
from llmrec.sources import load_dataset

ITEMS = 24
BARE = ("3", "7")
"""Items without an image; item 7 has no title either."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A log whose users walk up the numbers of items, with images of one colour an item."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    rows = []
    for user in range(30):
        start = rng.integers(1, ITEMS + 1)
        rows += [(f"u{user}", str((start + step) % ITEMS + 1), step) for step in range(8)]
    pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row").write_csv(folder / "log.csv")
    titles = [f"Film {number}" if str(number) != "7" else "" for number in range(1, ITEMS + 1)]
    items = pl.DataFrame({"item_id": [str(number) for number in range(1, ITEMS + 1)], "title": titles})
    items.write_csv(folder / "items.csv")
    described = {
        "name": "shop",
        "folder": ".",
        "source": {"name": "table", "interactions": "log.csv", "items": "items.csv"},
    }
    (folder / "shop.yaml").write_text(json.dumps(described), encoding="utf-8")
    covers = folder / "pictures"  # by this name nobody looks for them
    covers.mkdir()
    for number in range(1, ITEMS + 1):
        if str(number) not in BARE:
            paint(covers / f"{number}.png", number)
    return folder


def paint(path, number):
    colour = (number * 10 % 256, number * 37 % 256, number * 91 % 256)
    Image.new("RGB", (20, 30), colour).save(path)


def command(shop, output, *more):
    given = ["--data", str(shop / "shop.yaml"), "--output", str(output), *QUICK, "--loss", "in_batch_softmax"]
    seen = [f"images.folder={shop / 'pictures'}", "--epochs", "2", "features.prompt=items/title"]
    return [*given, *seen, *more]


EYE = ["--images", str(tiny_eyes.folder("vit"))]
BOTH = [*EYE, "--model", str(tiny_models.folder("bert"))]
NEW = ["--images", "resnet-mini", "images.size=16", "images.tuning={name: full, learning_rate: 0.001}"]
WAYS = {
    "image": EYE,
    "image-top_blocks": [*EYE, "--tuning", "top_blocks", "tuning.blocks=1"],
    "image-full": [*EYE, "--tuning", "full"],
    "image-lora": [*EYE, "--tuning", "lora"],
    "image-houlsby": [*EYE, "--tuning", "houlsby", "tuning.bottleneck=4", "tuning.head_bottleneck=4"],
    "image-new": NEW,
    "mixture": BOTH,
    "mixture-full": [*BOTH, "--tuning", "full"],
    "mixture-new": [*NEW, "--model", str(tiny_models.folder("bert"))],
}


QUICKEST = ("image", "image-new")


@pytest.mark.slow
@pytest.mark.parametrize(
    "way", [way if way in QUICKEST else pytest.param(way, marks=pytest.mark.slow) for way in sorted(WAYS)]
)
def test_a_run_over_images_is_saved_loaded_and_ranks_the_same(way, shop, tmp_path, capsys):
    assert train.main(command(shop, tmp_path / "run", *WAYS[way])) == 0, capsys.readouterr().err
    told = capsys.readouterr().err
    assert "2 of 24 items have no image" in told
    known = ["1 of 24 items have no image that can be read and are known by their text", "1 of 24 items have neither"]
    alone = ["2 of 24 items have no image that can be read and share one learned vector"]
    assert all(line in told for line in (known if way.startswith("mixture") else alone))
    metrics = small_runs.metrics(tmp_path / "run")
    assert metrics["provenance"]["images"]["items_without_image"] == 2
    saved = Recommender.load(tmp_path / "run")
    restored = Recommender.load(tmp_path / "run", to_train=True)
    restored.train()
    torch.testing.assert_close(restored.eval().item_embeddings(), saved.item_embeddings(), rtol=0, atol=1e-5)
    ranked = saved.recommend([["1", "2"], ["3", "7"]], k=3)
    assert ranked.height == 6


@pytest.mark.slow
@pytest.mark.parametrize("way", ["image", "mixture", "image-new"])
def test_new_items_are_ranked_by_what_they_show(way, shop, tmp_path):
    assert train.main(command(shop, tmp_path / "run", *WAYS[way])) == 0
    saved = Recommender.load(tmp_path / "run")
    twin = pl.DataFrame({"item_id": ["new"], "title": ["Film 5"]})
    folder = tmp_path / "new"
    folder.mkdir()
    paint(folder / "new.png", 5)
    assert saved.add_items(twin, images=folder) == ()
    vectors = saved.item_embeddings()
    torch.testing.assert_close(vectors[-1], vectors[5], rtol=1e-5, atol=1e-5)


def some_new(folder):
    """Images of new items: one whole, one empty, one of another item; "c" has none."""
    folder.mkdir()
    paint(folder / "a.png", 5)
    (folder / "b.png").write_bytes(b"")
    paint(folder / "9.png", 9)
    return folder


@pytest.mark.slow
def test_new_items_of_a_run_over_images_alone_need_one_each(shop, tmp_path):
    assert train.main(command(shop, tmp_path / "run", *EYE, "training.epochs=0")) == 0
    saved, folder = Recommender.load(tmp_path / "run"), some_new(tmp_path / "new")
    table = pl.DataFrame({"item_id": ["a", "b", "c"]})
    with pytest.raises(DataError, match=r"2 of 3 new items have none that can be read, such as \['b', 'c'\]") as error:
        saved.add_items(table, images=folder)
    told = str(error.value)
    assert f"1 of 3 items have no image in {folder}, such as 'c'" in told and "b.png (an empty file)" in told
    assert told.endswith("Put a whole file there for each, such as b.jpg, or leave them out")
    assert "'9" not in told, "item 9 is in the catalogue, and its image no stranger"
    assert saved.num_items == len(saved.item_embeddings()) - 1 == ITEMS
    with pytest.raises(DataError, match=r"1 of 1 new items have none that can be read, such as \['c'\]"):
        saved.add_items(table[2:], images=folder)
    stray = f"1 images in {folder} belong to no item, such as 'b.png'"
    assert saved.add_items(table[:1], images=folder) == (stray,)
    assert saved.num_items == len(saved.item_embeddings()) - 1 == ITEMS + 1


@pytest.mark.slow
def test_new_items_of_a_mixture_have_what_they_have_and_it_says_so(shop, tmp_path):
    assert train.main(command(shop, tmp_path / "run", *BOTH)) == 0
    folder = some_new(tmp_path / "new")

    def added(*rows):
        saved = Recommender.load(tmp_path / "run")
        notes = saved.add_items(pl.DataFrame(rows, ["item_id", "title"], orient="row"), images=folder)
        return notes, saved.item_embeddings()

    notes, vectors = added(("a", "Film 5"), ("b", "Film 3"), ("c", "Film 3"), ("d", ""))
    for place, twin in ((-4, 5), (-3, 3), (-2, 3), (-1, 7)):
        torch.testing.assert_close(vectors[place], vectors[twin], rtol=1e-5, atol=1e-5)
    assert notes == (
        f"2 of 4 items have no image in {folder}, such as 'c', 'd'",
        f"1 image files cannot be used, and their items have no image: {folder / 'b.png'} (an empty file)",
        "2 of 4 items have no image that can be read and are known by their text",
        "1 of 4 items have neither a text nor an image that can be read and share one learned vector",
    )
    for item in ("b", "c"):  # of which the folder shows none
        torch.testing.assert_close(added((item, "Film 3"))[1][-1], vectors[3], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_covers_that_are_all_broken_are_told_beside_texts_and_refused_alone(shop, tmp_path, capsys):
    folder = tmp_path / "covers"
    folder.mkdir()
    for item in (1, 2):
        (folder / f"{item}.jpg").write_bytes(b"")
    given = [f"images.folder={folder}", "training.epochs=0"]
    told = str(refused(command(shop, tmp_path / "seen", *EYE, *given)))
    assert "no item has an image that can be read" in told and "1.jpg (an empty file)" in told
    assert "Put whole files in their place or name another folder, images.folder=FOLDER; beside texts (--model)" in told
    assert train.main(command(shop, tmp_path / "both", *BOTH, *given)) == 0
    told = capsys.readouterr().err
    assert "2 image files cannot be used" in told
    assert "23 of 24 items have no image that can be read and are known by their text" in told
    assert small_runs.metrics(tmp_path / "both")["provenance"]["images"]["items_without_image"] == ITEMS


@pytest.mark.slow
def test_another_platform_begins_with_what_was_learned(shop, tmp_path):
    """As TransRec and NineRec go on: all weights; zero epochs measure the source as it is."""
    source = tmp_path / "source"
    assert train.main(command(shop, source, *NEW)) == 0
    begun = ["--init", str(source), "training.epochs=0"]
    assert train.main(command(shop, tmp_path / "target", *NEW, *begun)) == 0
    first, second = (Recommender.load(each).item_embeddings() for each in (source, tmp_path / "target"))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_adapters_stand_in_the_vision_model_that_the_source_has_made(shop, tmp_path):
    """Adapter4Rec: the source learns whole, the target its adapters alone."""
    source, target = tmp_path / "source", tmp_path / "target"
    assert train.main(command(shop, source, *WAYS["image-full"])) == 0
    adapted = [*WAYS["image-houlsby"], "--init", str(source), "training.learns=new", "training.epochs=0"]
    assert train.main(command(shop, target, *adapted)) == 0
    first, second = (Recommender.load(each).item_embeddings() for each in (source, target))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)
    assert (source / "vision_model" / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_vision_model_that_changed_since_is_refused(shop, tmp_path):
    """Its vectors would fit neither projection nor head."""
    eye = shutil.copytree(tiny_eyes.folder("vit"), tmp_path / "eye")
    assert train.main(command(shop, tmp_path / "run", "--images", str(eye))) == 0
    assert Recommender.load(tmp_path / "run", to_train=True) is not None
    weights = load_file(eye / "model.safetensors")
    save_file({name: weight + 1 for name, weight in weights.items()}, eye / "model.safetensors", {"format": "pt"})
    with pytest.raises(RunError, match=r"has the revision \w+ now, and the run was trained on \w+"):
        Recommender.load(tmp_path / "run", to_train=True)


def refused(arguments) -> LlmrecError:
    with pytest.raises(LlmrecError) as error:
        options, modes = train.options_of(arguments)
        train.run(options, **modes)
    return error.value


@pytest.mark.slow
def test_what_cannot_be_is_refused_in_the_users_words(shop, tmp_path):
    run = tmp_path / "run"
    error = refused(command(shop, run, "--images", "resnet-mini"))
    assert isinstance(error, ConfigError)
    for partial in ("frozen", "lora"):
        error = refused(command(shop, run, *NEW, f"images.tuning={partial}"))
        assert f"resnet-mini has new weights, all of which must learn; take images.tuning=full, came {partial}" in str(
            error
        )
    error = refused(command(shop, run, "--images", "resnt-18"))
    assert "no model 'resnt-18'; did you mean 'resnet-18'" in str(error)
    error = refused(command(shop, run, *EYE, f"images.folder={tmp_path / 'nowhere'}", "--overwrite"))
    assert isinstance(error, DataError)
    assert "does not exist" in str(error)
    error = refused(command(shop, run, *BOTH, "--tuning", "soft_prompt", "--overwrite"))
    assert "soft_prompt stands beside words, and images have none" in str(error)
    error = refused(command(shop, run, "--images", str(tiny_eyes.folder("swin")), "--tuning", "houlsby", "--overwrite"))
    assert "a swin has 2 stages of unlike width" in str(error)
    error = refused(command(shop, run, "--images", str(tiny_eyes.folder("resnet")), "--tuning", "lora", "--overwrite"))
    assert "a resnet has no linear layers that additions could learn beside" in str(error)
    error = refused(command(shop, run, *EYE, "features.precision=bf16", "--tuning", "lora", "images.tuning=full"))
    assert "a run over images alone has no features.precision, tuning" in str(error)
    error = refused(
        command(shop, run, *NEW[:-1], "images.tuning={name: full, gradient_checkpointing: true}", "--overwrite")
    )
    assert "takes no tuning.gradient_checkpointing" in str(error)
    error = refused(command(shop, run, "--overwrite", *EYE, "encoder=text"))
    assert "has no encoder 'text' (have: image)" in str(error)


def test_a_vision_model_is_not_spread_over_processes(shop, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert "launch a run over images without FSDP" in str(refused(command(shop, tmp_path / "run", *EYE)))


def test_a_data_set_without_images_asks_where_they_are(shop, tmp_path):
    arguments = [word for word in command(shop, tmp_path / "run", *EYE) if not word.startswith("images.folder")]
    assert "say where they are: images.folder=FOLDER" in str(refused(arguments))


@pytest.mark.slow
def test_a_source_of_another_eye_or_kind_is_refused_by_name(shop, tmp_path):
    source = tmp_path / "source"
    assert train.main(command(shop, source, *EYE)) == 0
    error = refused(command(shop, tmp_path / "a", "--images", str(tiny_eyes.folder("beit")), "--init", str(source)))
    assert isinstance(error, RunError)
    assert "vision model" in str(error)
    error = refused(command(shop, tmp_path / "b", *BOTH, "--init", str(source)))
    assert "has the encoder 'image', and this run has the encoder 'mixture'" in str(error)


@pytest.mark.slow
def test_two_towers_learn_at_rates_of_their_own(shop, tmp_path):
    """MoRec: the modality encoders' rate is not that of the rest."""
    rates = ["--tuning", "full", "tuning.learning_rate=0.0001", "tuning.weight_decay=0.2"]
    eye = ["images.tuning={name: full, learning_rate: 0.003, weight_decay: 0.5}"]
    options, _ = train.options_of(command(shop, tmp_path / "run", *BOTH, *rates, *eye, "training.weight_decay=0.1"))
    train.run(options, show="nothing")
    encoder = Recommender.load(tmp_path / "run", to_train=True).encoder
    groups = parameter_groups(encoder, options.training)
    of = {id(weight): group for group in groups for weight in group["params"]}
    assert len(of) == sum(len(group["params"]) for group in groups) == len(list(encoder.parameters()))
    told = {
        name: {(of[id(weight)]["peak"], of[id(weight)]["weight_decay"]) for weight in module.parameters()}
        for name, module in (
            ("text", encoder.text.trunk),
            ("image", encoder.image.trunk),
            ("rest", encoder.text.projection),
        )
    }
    assert told["text"] == {(0.0001, 0.2), (0.0001, 0.0)}
    assert told["image"] == {(0.003, 0.5), (0.003, 0.0)}
    assert told["rest"] == {(0.001, 0.1), (0.001, 0.0)}


@pytest.mark.slow
def test_items_without_an_image_can_be_left_out_for_every_system(shop, tmp_path, capsys):
    """So ids, texts and images compare on the same items; 22 of 24 have one."""
    options, _ = train.options_of(command(shop, tmp_path / "run", *EYE, "filter.with_image=true"))
    train.run(options)
    told = capsys.readouterr()
    assert "items with an image: 2 without leave, with" in told.err
    assert small_runs.metrics(tmp_path / "run")["provenance"]["images"]["items_without_image"] == 0
    assert len(pl.read_parquet(tmp_path / "run" / "items.parquet")) == ITEMS - len(BARE)
    assert "target image: there" in told.out
    assert "target image: none" not in told.out
    arguments = [word for word in command(shop, tmp_path / "b") if not word.startswith("images.folder")]
    assert "filter.with_image asks for items with one" in str(refused([*arguments, "filter.with_image=true"]))


@pytest.mark.slow
def test_a_mixture_takes_new_items_with_a_title_or_a_picture_alone(shop, tmp_path):
    assert train.main(command(shop, tmp_path / "run", *BOTH)) == 0
    saved = Recommender.load(tmp_path / "run")
    (tmp_path / "new").mkdir()
    paint(tmp_path / "new" / "seen.png", 7)
    saved.add_items(pl.DataFrame({"item_id": ["told"], "title": ["Film 3"]}))
    saved.add_items(pl.DataFrame({"item_id": ["seen"], "title": [""]}), images=tmp_path / "new")
    vectors = saved.item_embeddings()
    torch.testing.assert_close(vectors[-2], vectors[3], rtol=0, atol=1e-5)  # film 3 has no picture in training either
    assert (vectors[-1] - vectors[7]).abs().max() > 1e-3, "film 7 has neither"
    alone = tmp_path / "alone"
    assert train.main(command(shop, alone, *EYE)) == 0
    with pytest.raises(DataError, match="say where those of the new ones are: images=FOLDER"):
        Recommender.load(alone).add_items(pl.DataFrame({"item_id": ["told"], "title": ["Film 3"]}))


@pytest.mark.slow
def test_an_eye_that_was_made_goes_on_at_its_size_beside_a_text_that_stays(shop, tmp_path):
    """The source's pixels are 16 to a side, which no ResNet says of itself; the text's first block alone is read."""
    source, target = tmp_path / "source", tmp_path / "target"
    shallow = ["--model", str(tiny_models.folder("bert")), "features.blocks=1"]
    assert train.main(command(shop, source, *NEW, *shallow)) == 0
    eye = ["--images", "resnet-mini", "images.tuning={name: top_blocks, blocks: 1}", "--init", str(source)]
    assert train.main(command(shop, target, *eye, *shallow, "training.epochs=0")) == 0
    first, second = (Recommender.load(each).item_embeddings() for each in (source, target))
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-4)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    assert (config["images"]["size"], config["features"]["blocks"]) == (16, 1)


@pytest.mark.slow
def test_an_eye_whose_file_changed_is_no_beginning(shop, tmp_path):
    eye = shutil.copytree(tiny_eyes.folder("vit"), tmp_path / "eye")
    assert train.main(command(shop, tmp_path / "source", "--images", str(eye))) == 0
    same = shutil.copytree(eye, tmp_path / "moved")
    begun = ["--init", str(tmp_path / "source"), "training.epochs=0"]
    assert train.main(command(shop, tmp_path / "a", "--images", str(same), *begun)) == 0, "only its folder is another"
    weights = load_file(eye / "model.safetensors")
    save_file({name: weight + 1 for name, weight in weights.items()}, eye / "model.safetensors", {"format": "pt"})
    assert "vision model: " in str(refused(command(shop, tmp_path / "b", "--images", str(eye), *begun)))


@pytest.mark.slow
def test_training_does_not_go_on_over_other_pictures(shop, tmp_path):
    covers = shutil.copytree(shop / "pictures", tmp_path / "covers")
    given = [*command(shop, tmp_path / "run", *EYE), f"images.folder={covers}", "training.checkpoint_steps=1"]
    options, _ = train.options_of(given)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "measure", stopped)
        train.run(options)
    assert folder.checkpoint.is_file()
    paint(covers / "5.png", 6)
    with pytest.raises(RunError, match="was made on another basis \\(images: "):
        train.run(options, resume=True)


def stopped(*given):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_network_from_nothing_whose_projection_alone_learns_keeps_its_statistics(shop, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    assert train.main(command(shop, source, *NEW)) == 0
    assert train.main(command(shop, target, *NEW, "--init", str(source), "training.learns=projection")) == 0
    first, second = (load_file(each / "model.safetensors") for each in (source, target))
    assert [name for name in first if ".trunk." in name and not torch.equal(first[name], second[name])] == []
    assert [name for name in first if ".projection." in name and not torch.equal(first[name], second[name])]


@pytest.mark.slow
def test_pictures_that_training_never_shows_are_refused(shop, tmp_path):
    (tmp_path / "covers").mkdir()
    paint(tmp_path / "covers" / "cold.png", 1)
    rows = (shop / "items.csv").read_text(encoding="utf-8") + "cold,Film 200\n"
    for name in ("log.csv", "shop.yaml"):
        shutil.copy(shop / name, tmp_path / name)
    (tmp_path / "items.csv").write_text(rows, encoding="utf-8")
    given = [*command(tmp_path, tmp_path / "run", *BOTH), f"images.folder={tmp_path / 'covers'}"]
    assert "no item that training shows has an image" in str(refused(given))


@pytest.mark.slow
def test_the_transform_of_an_eye_from_nothing_is_fitted_on_what_training_sees(shop, tmp_path):
    """Batch norms without statistics give vectors so small that standardised ones would be thousands in training."""
    assert train.main(command(shop, tmp_path / "run", *NEW, "training.epochs=0")) == 0
    encoder = Recommender.load(tmp_path / "run", to_train=True).train().encoder
    seen = torch.arange(len(encoder.present))[encoder.present]
    spread = transforms.apply(encoder.trunk(seen), encoder.shift, encoder.matrix).std(dim=0, correction=0)
    assert spread[spread > 0].median().item() == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_one_image_alone_is_read_by_a_network_from_nothing_too(shop, tmp_path):
    """Batch norms have no statistics of one place of one image, which the last stage leaves of 16 pixels."""
    assert train.main(command(shop, tmp_path / "run", *NEW, "training.epochs=0")) == 0
    trunk = Recommender.load(tmp_path / "run", to_train=True).train().encoder.trunk
    item, before = torch.tensor([5]), {name: each.clone() for name, each in trunk.named_buffers()}
    alone = trunk(item)
    assert torch.isfinite(alone).all()
    assert all(torch.equal(before[name], each) for name, each in trunk.named_buffers())
    assert trunk.encoder.training
    torch.testing.assert_close(trunk.eval()(item), alone)


def feed(shop, folder, *, titles=True, covers=True):
    """The log of the shop as that of a platform whose items lack the one or the other; the arguments of its runs."""
    folder.mkdir()
    for name in ("log.csv", "shop.yaml", "items.csv"):
        shutil.copy(shop / name, folder / name)
    if not titles:
        blank = pl.read_csv(shop / "items.csv", schema_overrides={"item_id": pl.String}).with_columns(title=pl.lit(" "))
        blank.write_csv(folder / "items.csv")
    given = [*command(folder, folder / "run"), "training.epochs=4", *WAYS["mixture-new"]]
    given = [word for word in given if not word.startswith("images.folder")]
    return [*given, f"images.folder={shop / 'pictures'}"] if covers else given


def vector_of(run, folder, title, colour):
    """What a recommender makes of a new item of a title, an image, or both."""
    folder.mkdir()
    if colour:
        paint(folder / "new.png", colour)
    table = pl.DataFrame({"item_id": ["new"], "title": [title]})
    saved = Recommender.load(run)
    saved.add_items(table, images=folder if colour else None)
    return saved.item_embeddings()[-1]


@pytest.mark.slow
def test_a_mixture_goes_on_from_platform_to_platform_whatever_items_have_there(shop, tmp_path, capsys):
    """TransRec: from a mixed feed to one of texts, from there to one of covers; the tower without items stays."""
    chain = [("mixed", {}), ("texts", {"covers": False}), ("covers", {"titles": False})]
    begun = []
    for name, has in chain:
        assert train.main([*feed(shop, tmp_path / name, **has), *begun]) == 0, capsys.readouterr().err
        begun = ["--init", str(tmp_path / name / "run")]
    told = capsys.readouterr().err
    assert "shop comes without images, so that texts alone are read" in told
    assert "prompt 'items/title' gives no item of shop one" in told
    mixed, texts, covers = (load_file(tmp_path / name / "run" / "model.safetensors") for name, _ in chain)
    assert mixed.keys() == texts.keys() == covers.keys()

    def moved(first, second, part):
        return [name for name in first if name.startswith(f"encoder.{part}") and not first[name].equal(second[name])]

    assert moved(mixed, texts, "image.") == moved(texts, covers, "text.") == []
    assert moved(mixed, texts, "text.projection") and moved(texts, covers, "image.trunk")
    seen = [vector_of(tmp_path / name / "run", tmp_path / f"{name}-seen", "", 5) for name, _ in chain[:2]]
    torch.testing.assert_close(*seen)
    restored = Recommender.load(tmp_path / "texts" / "run", to_train=True)
    vectors = restored.item_embeddings()
    restored.train()
    torch.testing.assert_close(restored.eval().item_embeddings(), vectors)


@pytest.mark.slow
@pytest.mark.parametrize("has", ["titles", "covers"])
def test_a_mixture_from_nothing_learns_on_a_platform_of_one_modality(has, shop, tmp_path):
    """It has no tower for the other, whose items it cannot read: images are refused, titles are left unread."""
    lacks = {"titles": "covers", "covers": "titles"}[has]
    assert train.main(feed(shop, tmp_path / "feed", **{lacks: False})) == 0
    run = tmp_path / "feed" / "run"
    part = {"titles": "encoder.image.", "covers": "encoder.text."}[has]
    assert not [name for name in load_file(run / "model.safetensors") if name.startswith(part)]
    assert small_runs.metrics(run)["provenance"]["images"]["items_without_image"] == {"titles": 24, "covers": 2}[has]
    if has == "titles":
        with pytest.raises(DataError, match="no item had an image when this recommender was trained"):
            vector_of(run, tmp_path / "both", "Film 5", 5)
    else:
        two = (vector_of(run, tmp_path / name, name, 5) for name in ("Film 5", "Film 6"))
        torch.testing.assert_close(*two, rtol=0, atol=0)
        notes = Recommender.load(run).add_items(pl.DataFrame({"item_id": ["told"], "title": ["Film 3"]}))
        assert notes == (
            "no item had a text when this recommender was trained, so those of the new are not read",
            "1 of 1 items have neither a text nor an image that can be read and share one learned vector",
        )


@pytest.mark.slow
def test_a_tower_that_was_kept_cannot_become_a_model_for_another_tuning(shop, tmp_path):
    texts = tmp_path / "texts"
    assert train.main(feed(shop, texts, covers=False)) == 0
    given = [*feed(shop, tmp_path / "mixed"), "images.tuning={name: top_blocks, blocks: 1}", "--init", f"{texts}/run"]
    assert "no item of" in str(refused(given))


def test_a_folder_of_covers_may_be_empty_beside_texts_alone(shop, tmp_path):
    empty = tmp_path / "covers"
    empty.mkdir()
    data = replace(load_dataset(str(shop / "shop.yaml")), images=empty)
    named = ImageOptions(model="resnet-mini", folder=empty)
    found = preparation.seen(data, ImageOptions(model="resnet-mini"), beside_texts=True)
    assert (found.images, found.notes[-1]) == (None, "covers/ holds no image")
    for options, beside_texts in ((named, True), (ImageOptions(model="resnet-mini"), False)):
        with pytest.raises(DataError, match="covers holds no image"):
            preparation.seen(data, options, beside_texts=beside_texts)


@pytest.mark.slow
def test_items_with_neither_a_text_nor_an_image_are_no_mixture(shop, tmp_path):
    given = feed(shop, tmp_path / "feed", titles=False, covers=False)
    assert "shop: no item has an image or a text" in str(refused(given))


def test_images_that_may_be_numbered_by_rows_or_by_items_are_told(shop, tmp_path):
    data, folder = load_dataset(str(shop / "shop.yaml")), tmp_path / "covers"
    data = replace(data, items=data.items.with_columns(item_id=pl.col("item_id").replace("24", "90")), images=folder)
    folder.mkdir()
    for number in (2, 5, 6):
        paint(folder / f"{number}.png", number)
    told = f"the 3 images in {folder} are named by numbers, which may be item ids or rows"
    shown = preparation.seen(data, ImageOptions(model="resnet-mini"), beside_texts=False)
    filtered = [filtering.apply(each, FilterOptions(with_image=True)).dataset for each in (data, shown)]
    assert [sum(note.startswith(told) for note in each.notes) for each in (data, shown, *filtered)] == [0, 1, 1, 1]
    believed = ImageOptions(model="resnet-mini", named_by="id")
    assert preparation.seen(data, believed, beside_texts=False).notes == data.notes


def rows(folder):
    """Images numbered by the rows of a table: 0 is no item, and items go beyond the highest."""
    folder.mkdir()
    for number in range(21):
        paint(folder / f"{number}.png", number)
    return folder


def test_a_filter_by_images_refuses_those_that_count_rows(shop, tmp_path):
    data = replace(load_dataset(str(shop / "shop.yaml")), images=rows(tmp_path / "covers"))
    with pytest.raises(DataError, match="seem to be numbered by the rows of a table"):
        filtering.apply(data, FilterOptions(with_image=True))
    for way in ((FilterOptions(with_image="id"),), (FilterOptions(with_image=True), "id")):
        assert filtering.apply(data, *way).dataset.num_items == 20


@pytest.mark.slow
def test_new_items_are_not_shown_by_images_that_count_rows(shop, tmp_path):
    assert train.main(command(shop, tmp_path / "run", *EYE, "training.epochs=0")) == 0
    folder, table = rows(tmp_path / "new"), pl.DataFrame({"item_id": ["20", "31"], "title": ["Film 30", "Film 31"]})
    saved = Recommender.load(tmp_path / "run")
    saved.item_ids[20] = "32"  # so that 20 is new
    with pytest.raises(DataError, match="seem to be numbered by the rows of a table"):
        saved.add_items(table, images=folder)
    (folder / "0.png").unlink()
    (note,) = saved.add_items(table[:1], images=folder)
    assert note.startswith(f"the 20 images in {folder} are named by numbers, which may be item ids or rows")
    assert saved.item_ids[-1] == "20"
