"""What every component keeps to, whoever wrote it; a new file is found by existing and tested here without an edit."""

import ast
import inspect
import json
import re
from typing import Any

import pytest
import tiny_models
import torch
from conftest import ROOT
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from test_top_blocks import TEXTS, learn
from torch import nn

from llmrec import components, transforms
from llmrec.encoders._tower import Described
from llmrec.errors import ConfigError, LlmrecError
from llmrec.features import encode

ALL = [(kind, name) for kind in components.KINDS for name in components.names(kind)]
WITH_OPTIONS = [(kind, name) for kind, name in ALL if len(components.resolve(kind, name)) > 1]
every_component = pytest.mark.parametrize(("kind", "name"), ALL)
NUM_ITEMS, DIM, TEXT_DIM = 7, 8, 12


def options_of(kind: str, name: str) -> dict[str, inspect.Parameter]:
    component = components.load(kind, name)
    if component.__init__ is object.__init__:
        return {}
    parameters = inspect.signature(component).parameters
    return {key: value for key, value in parameters.items() if value.kind is inspect.Parameter.KEYWORD_ONLY}


def test_every_folder_of_components_is_a_kind_and_has_a_component():
    folders = {path.parent.name for path in (ROOT / "llmrec").glob("*/__init__.py")}
    folders -= {"loading", "generative", "tasks"}
    assert folders == set(components.KINDS)
    assert {kind for kind, _ in ALL} == set(components.KINDS)


@pytest.mark.parametrize("kind", components.KINDS)
def test_no_name_of_a_package_is_that_of_a_component(kind):
    """Importing ``llmrec.losses.bce`` puts a module ``bce`` in the place of whatever the package calls so."""
    tree = ast.parse((ROOT / "llmrec" / kind / "__init__.py").read_text(encoding="utf-8"))
    own = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    own |= {alias.asname or alias.name for node in imports for alias in node.names}
    assert own & set(components.names(kind)) == set()


@every_component
def test_a_file_has_one_public_class_with_a_docstring(kind, name):
    path = ROOT / "llmrec" / kind / f"{name}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    assert [node.name for node in public] == [components.load(kind, name).__name__]
    assert ast.get_docstring(tree), "the file says what it is about"
    assert ast.get_docstring(public[0])


@every_component
def test_options_are_keyword_only_with_annotated_defaults_of_that_type(kind, name):
    component = components.load(kind, name)
    parameters = inspect.signature(component).parameters if component.__init__ is not object.__init__ else {}
    kinds = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    assert {value.kind for value in parameters.values()} <= kinds, "no *args or **kwargs: nothing could be checked"
    for key, value in parameters.items():
        if value.kind is inspect.Parameter.KEYWORD_ONLY:
            assert value.annotation is not inspect.Parameter.empty, f"{key} has no type"
            assert value.default is not inspect.Parameter.empty, f"{key} has no default"
            assert TypeAdapter(value.annotation).validate_python(value.default, strict=True) == value.default
        else:
            assert value.default is inspect.Parameter.empty, f"{key} is the program's to give or an option, not both"


@every_component
def test_every_option_is_explained_and_nothing_that_does_not_exist(kind, name):
    component = components.load(kind, name)
    given = inspect.signature(component).parameters if component.__init__ is not object.__init__ else {}
    explained = re.findall(r"^    (\w+): ", inspect.getdoc(component), re.MULTILINE)
    assert set(options_of(kind, name)) <= set(explained) <= set(given)
    assert len(explained) == len(set(explained))


@every_component
def test_every_option_is_read_by_the_file_that_declares_it(kind, name):
    path = ROOT / "llmrec" / kind / f"{name}.py"
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    read = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert set(options_of(kind, name)) - read == set()


@every_component
def test_resolve_fills_in_the_defaults_and_survives_config_json(kind, name):
    resolved = components.resolve(kind, name)
    defaults = {key: value.default for key, value in options_of(kind, name).items()}
    assert resolved == {"name": name, **json.loads(json.dumps(defaults))}
    assert components.resolve(kind, {"name": name}) == resolved
    assert components.resolve(kind, json.loads(json.dumps(resolved))) == resolved


@pytest.mark.parametrize(("kind", "name"), WITH_OPTIONS)
def test_a_misspelt_option_is_refused_with_the_nearest(kind, name):
    option = next(iter(options_of(kind, name)))
    with pytest.raises(ConfigError) as error:
        components.resolve(kind, {"name": name, f"{option}s": 1})
    assert f"{components.KINDS[kind]} {name!r} has no option '{option}s'; did you mean {option!r}?" in str(error.value)
    with pytest.raises(ConfigError, match=rf"{name}.*{option}: .*came: \[\[\]\]"):
        components.resolve(kind, {"name": name, option: [[]]})


@every_component
def test_a_misspelt_name_is_refused_with_the_nearest(kind, name):
    with pytest.raises(ConfigError, match=f"no {components.KINDS[kind]} '{name}x'; did you mean '{name}'"):
        components.resolve(kind, f"{name}x")


@every_component
def test_help_prints_the_docstring_and_every_option(kind, name):
    shown = components.describe(name)
    assert f"{components.KINDS[kind]} {name} (llmrec/{kind}/{name}.py)" in shown
    assert inspect.getdoc(components.load(kind, name)) in shown
    for key, value in options_of(kind, name).items():
        assert re.search(rf"^  {key}: .* = {re.escape(repr(value.default))}$", shown, re.MULTILINE)


def test_a_specification_without_a_name_and_help_for_nothing_are_refused():
    with pytest.raises(ConfigError, match=r"head: \{'num_layers': 2\} has no 'name' \(have: .*sasrec"):
        components.resolve("heads", {"num_layers": 2})
    with pytest.raises(ConfigError, match="no component 'sasrek'; did you mean 'sasrec'"):
        components.describe("sasrek")


def test_a_value_that_the_constructor_refuses_is_the_users_to_mend():
    spec = components.resolve("heads", {"name": "sasrec", "num_heads": 3})
    with pytest.raises(ConfigError, match="head 'sasrec': num_heads=3 does not divide embedding_dim=8"):
        components.create("heads", spec, 8, 10)


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("losses", {"name": "softmax", "chunk_rows": 0}),
        ("losses", {"name": "softmax", "chunk_rows": -5}),
        ("transforms", {"name": "pca", "out_dim": 0}),
    ],
)
def test_sizes_below_one_are_refused(kind, spec):
    with pytest.raises(ConfigError, match="must be at least 1, came"):
        components.create(kind, components.resolve(kind, spec))


def make_encoder(name: str, **options: Any) -> nn.Module:
    """An encoder as the program builds it: over a catalogue for item ids, over frozen trunks for texts and images."""
    torch.manual_seed(0)
    spec = components.resolve("encoders", {"name": name, **options})
    supplied = inspect.signature(components.load("encoders", name)).parameters
    parts = [part for part in ("text", "image") if part in supplied]
    if parts:
        return components.create("encoders", spec, *(described(SHOWN[part]) for part in parts), DIM)
    if "trunk" not in supplied:
        return components.create("encoders", spec, NUM_ITEMS, DIM)
    known = described(torch.arange(NUM_ITEMS + 1) > 0)
    return components.create("encoders", spec, known.trunk, known.shift, known.matrix, DIM)


def described(present: torch.Tensor) -> Described:
    """Vectors of the items that are present over a frozen trunk."""
    vectors = torch.cat([torch.zeros(1, TEXT_DIM), torch.randn(NUM_ITEMS, TEXT_DIM) + 1])
    trunk = components.create("tuning", components.resolve("tuning", "frozen")).trunk(
        tiny_models.source(lambda: vectors)
    )
    return Described(trunk, *transforms_of(vectors[1:]), present)


SHOWN = {"text": torch.tensor([0, 1, 1, 0, 0, 1, 1, 0]) > 0, "image": torch.tensor([0, 0, 1, 1, 0, 1, 0, 0]) > 0}
"""Items that have either; some have both, and some neither."""


def transforms_of(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return components.create("transforms", components.resolve("transforms", "standardise")).fit(vectors)


every_encoder = pytest.mark.parametrize("name", components.names("encoders"))


@every_encoder
def test_an_encoder_gives_one_row_per_item_and_zeros_for_the_padding(name):
    encoder = make_encoder(name)
    for mode in (True, False):
        vectors = encoder.train(mode)()
        assert vectors.shape == (NUM_ITEMS + 1, DIM)
        assert (vectors[0] == 0).all()
        assert (vectors[1:].abs().sum(dim=1) > 0).all()
        assert torch.isfinite(vectors).all()


@every_encoder
def test_an_encoder_in_evaluation_mode_gives_the_same_twice(name):
    encoder = make_encoder(name).eval()
    assert torch.equal(encoder(), encoder())


@every_encoder
def test_an_encoder_gives_some_items_as_it_gives_all(name):
    encoder = make_encoder(name).eval()
    some = torch.tensor([0, 7, 3, 7, NUM_ITEMS, 0])
    torch.testing.assert_close(encoder(some), encoder()[some], rtol=0, atol=1e-6)
    assert (encoder(some)[[0, 5]] == 0).all()


@every_encoder
def test_every_parameter_of_an_encoder_gets_a_gradient(name):
    encoder = make_encoder(name)
    (encoder() * torch.randn(NUM_ITEMS + 1, DIM)).sum().backward()
    parameters = dict(encoder.named_parameters())
    assert parameters
    assert [key for key, each in parameters.items() if each.grad is None or not each.grad.any()] == []


def test_the_text_encoder_applies_its_transform_and_takes_one_to_three_layers():
    torch.manual_seed(0)
    vectors = torch.randn(NUM_ITEMS + 1, TEXT_DIM)
    trunk = components.create("tuning", {"name": "frozen"}).trunk(tiny_models.source(lambda: vectors))
    shift, matrix = torch.randn(TEXT_DIM), torch.rand(TEXT_DIM, 5)
    spec = components.resolve("encoders", {"name": "text", "projection_layers": 1})
    encoder = components.create("encoders", spec, trunk, shift, matrix, DIM).eval()
    linear = encoder.projection[-1]
    expected = ((vectors - shift) @ matrix) @ linear.weight.T + linear.bias
    torch.testing.assert_close(encoder()[1:], expected[1:])
    assert transforms.apply(vectors, shift, torch.ones(TEXT_DIM)).equal(vectors - shift)
    for layers in (1, 2, 9):
        projection = make_encoder("text", projection_layers=layers, hidden_dim=11).projection
        widths = [(each.in_features, each.out_features) for each in projection if isinstance(each, nn.Linear)]
        inner = [11] * (layers - 1)
        assert widths == list(zip([TEXT_DIM, *inner], [*inner, DIM]))
    with pytest.raises(ConfigError, match="projection_layers must be at least 1, came 0"):
        make_encoder("text", projection_layers=0)


@pytest.mark.parametrize("name", ["text", "image", "mixture"])
def test_a_new_projection_begins_as_large_as_it_is_told_and_is_the_same_but_for_that(name):
    vectors = []
    for gain in (1.0, 0.25):
        torch.manual_seed(0)
        encoder = make_encoder(name, gain=gain).eval()
        present = encoder.has_text | encoder.has_image if name == "mixture" else getattr(encoder, "present", None)
        vectors.append(encoder()[1:] if present is None else encoder()[1:][present[1:]])
    torch.testing.assert_close(0.25 * vectors[0], vectors[1])
    with pytest.raises(ConfigError, match="gain must be a number above 0, came 0"):
        make_encoder(name, gain=0)


# A text behind a prompt is another text, so that its vectors are another's from the start; see test_adapters.
AS_AT_FIRST = [name for name in components.names("tuning") if name != "soft_prompt"]
ADAPTERS = [name for name in components.names("tuning") if name not in ("frozen", "full", "top_blocks")]
"""Tunings that leave the language model as it is and have something beside it learn."""


@pytest.mark.slow
@pytest.mark.parametrize("name", AS_AT_FIRST)
def test_a_tuning_gives_the_vectors_of_the_model_before_it_has_learned(name):
    texts = ["", "Toy Story (1995)", "Heat " * 30, "Alien", "Toy Story (1995)"]
    vectors = torch.cat([torch.zeros(1, 16), encode(texts[1:], tiny_models.loaded("llama"), "mean", 64)[0]])
    spec = components.resolve("tuning", name) | ({"blocks": 1} if name == "top_blocks" else {})
    trunk = components.create("tuning", spec).trunk(tiny_models.source(lambda: vectors, texts, "llama"))
    assert isinstance(trunk, nn.Module)
    torch.testing.assert_close(trunk()[1:], vectors[1:], rtol=0, atol=1e-5)
    some = torch.tensor([3, 1, 4])
    torch.testing.assert_close(trunk(some), vectors[some], rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ADAPTERS)
def test_beside_a_language_model_only_what_is_registered_learns_and_all_of_it_does(name):
    """Compared bit for bit after three steps with decay; what is saved is what learned."""
    trunk = adapter_trunk(name)
    learning = {id(each) for each in trunk.parameters()}
    assert all(each.requires_grad for each in trunk.parameters())
    state = {**dict(trunk.encoder.named_parameters()), **dict(trunk.encoder.named_buffers())}
    model = {key: each for key, each in state.items() if id(each) not in learning}
    before = {key: each.detach().clone() for key, each in model.items()}
    first = {key: each.detach().clone() for key, each in trunk.named_parameters()}
    learn(trunk)
    assert len(model) >= len(tiny_models.loaded("llama").model.state_dict())
    assert all(torch.equal(before[key], each) for key, each in model.items())
    assert [key for key, each in trunk.named_parameters() if torch.equal(first[key], each)] == []
    assert trunk.state_dict().keys() == first.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", ADAPTERS)
def test_what_learned_beside_a_language_model_is_saved_and_loaded_by_name(name, tmp_path):
    """E16: another trunk gives the vectors once it is loaded and not before; renamed weights are refused."""
    trunk, other = adapter_trunk(name), adapter_trunk(name)
    vectors = learn(trunk)
    assert (other()[1:] - vectors).abs().max() > 1e-3
    save_file(trunk.state_dict(), tmp_path / "weights.safetensors")
    state = load_file(tmp_path / "weights.safetensors")
    other.load_state_dict(state)
    torch.testing.assert_close(other()[1:].detach(), vectors, rtol=0, atol=1e-6)
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({f"x{key}": each for key, each in state.items()})


def adapter_trunk(name: str) -> nn.Module:
    tuning = components.create("tuning", components.resolve("tuning", name))
    return tuning.trunk(tiny_models.source(lambda: None, TEXTS, "llama"))


def test_the_frozen_trunk_learns_nothing_asks_once_and_saves_nothing():
    asked = []
    trunk = components.create("tuning", {"name": "frozen"}).trunk(
        tiny_models.source(lambda: asked.append(1) or torch.ones(3, 2))
    )
    assert torch.equal(trunk(), trunk())
    assert asked == [1]
    assert list(trunk.parameters()) == []
    assert trunk.state_dict() == {}


@pytest.mark.parametrize("name", components.names("sources"))
def test_a_source_says_what_it_expects_and_sees_nothing_in_an_empty_folder(name, tmp_path):
    source = components.create("sources", components.resolve("sources", name))
    assert len(source.expects) > 10
    assert source.detect(tmp_path) is False
    assert source.detect(tmp_path / "missing") is False
    with pytest.raises((LlmrecError, OSError)):
        source.read(tmp_path, "nothing")
