"""Any vision model of transformers gives one vector an image, pooled as its kind asks and alone of its batch."""

import json
import shutil

import pytest
import tiny_eyes
import tiny_models
import torch
from transformers import MobileNetV2Config, MobileNetV2Model, Siglip2VisionConfig, Siglip2VisionModel

from llmrec.errors import ConfigError, DataError
from llmrec.loading.blocks import block_list
from llmrec.loading.vision import SHAPES, load_vision, size_of
from llmrec.pixels import PixelStore
from llmrec.tuning import ImageSource
from llmrec.tuning.full import Full
from llmrec.tuning.top_blocks import TopBlocks

KINDS = sorted(tiny_eyes.ARCHITECTURES)
PIXELS = torch.randn(5, 3, tiny_eyes.SIZE, tiny_eyes.SIZE, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def vectors(eye, pixels):
    return eye(pixels).last_hidden_state


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_gives_one_vector_an_image_whoever_shares_its_batch(kind):
    """D4: the vector of an image depends on nothing but the image."""
    eye = load_vision(str(tiny_eyes.folder(kind)), "fp32", tiny_eyes.SIZE).model
    together = vectors(eye, PIXELS)
    assert together.shape == (5, 1, 16)
    assert together.std(dim=0).max() > 0.05
    for row in range(5):
        torch.testing.assert_close(vectors(eye, PIXELS[row : row + 1])[0], together[row], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_the_file_is_in_the_model_and_none_is_drawn_anew(kind):
    from safetensors.torch import load_file

    eye = load_vision(str(tiny_eyes.folder(kind)), "fp32", tiny_eyes.SIZE).model
    saved = load_file(tiny_eyes.folder(kind) / "model.safetensors")
    values = {(tuple(weight.shape), round(float(weight.double().sum()), 4)) for weight in saved.values()}
    own = {(tuple(weight.shape), round(float(weight.double().sum()), 4)) for weight in eye.network.parameters()}
    assert own <= values
    assert not any(weight.requires_grad for weight in eye.parameters())


def test_mean_and_spread_of_the_channels_are_those_of_the_preprocessor(tmp_path):
    told = load_vision(str(tiny_eyes.folder("vit")), "fp32")
    assert (told.mean, told.std) == ((0.5, 0.4, 0.3), (0.2, 0.25, 0.5))
    silent = shutil.copytree(tiny_eyes.folder("vit"), tmp_path / "silent")
    (silent / "preprocessor_config.json").unlink()
    assert load_vision(str(silent), "fp32").mean == (0.485, 0.456, 0.406), "ImageNet's"
    (silent / "processor_config.json").write_text(
        '{"image_processor": {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}}', encoding="utf-8"
    )
    of_both = load_vision(str(silent), "fp32")
    assert (of_both.mean, of_both.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    (silent / "preprocessor_config.json").write_text('{"do_normalize": false}', encoding="utf-8")
    raw = load_vision(str(silent), "fp32")
    assert (raw.mean, raw.std) == ((0, 0, 0), (1, 1, 1))


def test_a_vit_pools_its_first_token_and_a_resnet_the_mean_of_its_places():
    vit = load_vision(str(tiny_eyes.folder("vit")), "fp32").model
    values = torch.randn(2, 3, tiny_eyes.SIZE, tiny_eyes.SIZE)
    with torch.no_grad():
        assert torch.equal(vit.vectors(values), vit.network(pixel_values=values).last_hidden_state[:, 0])
        resnet = load_vision(str(tiny_eyes.folder("resnet")), "fp32").model
        last = resnet.network(pixel_values=values).last_hidden_state
        torch.testing.assert_close(resnet.vectors(values), last.mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("kind", "pooled"),
    [
        ("vit_msn", lambda hidden: hidden[:, 0]),
        ("data2vec-vision", lambda hidden: hidden[:, 0]),
        ("pvt", lambda hidden: hidden[:, 0]),
        ("ijepa", lambda hidden: hidden.mean(dim=1)),
        ("segformer", lambda hidden: hidden.mean(dim=(2, 3))),
    ],
)
def test_a_kind_without_a_pooler_has_its_first_token_or_the_mean_of_its_places(kind, pooled):
    eye = load_vision(str(tiny_eyes.folder(kind)), "fp32").model
    with torch.no_grad():
        torch.testing.assert_close(eye.vectors(PIXELS), pooled(eye.network(pixel_values=PIXELS).last_hidden_state))


def test_a_model_that_wants_more_than_pixels_is_refused_when_it_is_loaded(tmp_path):
    """SigLIP 2 reads patches of any number, with a mask and their shape."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    Siglip2VisionModel(Siglip2VisionConfig(patch_size=4, num_patches=16, **sizes)).save_pretrained(tmp_path)
    told = (
        r"is a siglip2_vision_model that gives no vector of an image of 224 x 224 pixels \(TypeError: .*; take another"
    )
    with pytest.raises(DataError, match=told):
        load_vision(str(tmp_path), "fp32")


def trunk_of(tuning, kind, folder):
    load = lambda: load_vision(str(kind), "fp32", 32)
    return tuning.trunk(ImageSource(lambda: torch.zeros(1, 1), ["", "a"], load, PixelStore(folder, 32), "fp32"))


@pytest.mark.slow
def test_a_model_without_a_list_of_blocks_learns_whole(tmp_path):
    eye = tmp_path / "eye"
    MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.1, image_size=32)).save_pretrained(eye)
    whole = trunk_of(Full(), eye, tmp_path)
    assert {id(weight) for weight in whole.parameters()} == {id(weight) for weight in whole.encoder.parameters()}
    with pytest.raises(ConfigError, match=r"no list of 0 blocks.*; leave tuning.gradient_checkpointing and FSDP out"):
        trunk_of(Full(gradient_checkpointing=True), eye, tmp_path)
    with pytest.raises(DataError, match="no list of 0 blocks"):
        trunk_of(TopBlocks(blocks=1), eye, tmp_path)


def test_stages_that_nothing_calls_are_no_blocks():
    """PVT's are lists, which would learn without what stands behind them; its patch embeddings are as many."""
    pvt = load_vision(str(tiny_eyes.folder("pvt")), "fp32").model
    with pytest.raises(DataError, match="no list of 2 blocks"):
        block_list(pvt)
    assert block_list(load_vision(str(tiny_eyes.folder("segformer")), "fp32").model)[0].endswith("stages")


def test_mae_reads_all_patches_in_every_run():
    """Its own forward drops three quarters of them at random."""
    eye = load_vision(str(tiny_eyes.folder("vit_mae")), "fp32").model
    assert torch.equal(vectors(eye, PIXELS), vectors(eye, PIXELS))
    changed = PIXELS.clone()
    for row in range(0, tiny_eyes.SIZE, 4):
        changed[:, :, row : row + 4] += 1
        assert (vectors(eye, changed) - vectors(eye, PIXELS)).abs().max() > 1e-4


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_shape_is_drawn_anew_and_reads_the_size_asked_for(name):
    torch.manual_seed(1)
    first = load_vision(name, "fp32", 32)
    torch.manual_seed(1)
    again = load_vision(name, "fp32", 32)
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(vectors(first.model.eval(), pixels), vectors(again.model.eval(), pixels))
    assert first.files is None
    assert all(weight.requires_grad for weight in first.model.parameters())


def test_the_size_is_the_models_own():
    assert size_of(str(tiny_eyes.folder("vit")), None) == tiny_eyes.SIZE
    assert size_of(str(tiny_eyes.folder("resnet")), None) == 224
    assert size_of(str(tiny_eyes.folder("resnet")), 64) == 64
    with pytest.raises(ConfigError, match=r"reads images of 16 pixels a side; leave images\.size=32 out, or set 16"):
        size_of(str(tiny_eyes.folder("vit")), 32)
    with pytest.raises(ConfigError, match=r"8 x 8 patches, which images\.size=30 is no multiple of"):
        load_vision("vit-mini", "fp32", 30)


def test_what_is_no_vision_model_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match="is a llama, which reads no images; name a vision model"):
        load_vision(str(tiny_models.folder("llama")), "fp32")
    with pytest.raises(ConfigError, match="no model 'resnet-minni'; did you mean 'resnet-mini'"):
        load_vision("resnet-minni", "fp32")
    broken = shutil.copytree(tiny_eyes.folder("vit"), tmp_path / "vit")
    (broken / "config.json").write_text(json.dumps({"model_type": "nothing"}), encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read as a model"):
        load_vision(str(broken), "fp32")
