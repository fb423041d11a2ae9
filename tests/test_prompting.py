"""Prompt files: what they must hold, where they are looked for, and that neither data nor template breaks out."""

import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from conftest import ROOT, toy_tables
from small_runs import execute

from llmrec import config, prompting
from llmrec.errors import DataError, PromptError
from llmrec.interactions import Dataset
from llmrec.item_text import ItemText
from llmrec.prompting import UNTITLED, Prompt, item_texts

SHIPPED = sorted(
    str(path.relative_to(ROOT / "prompts").with_suffix("")) for path in (ROOT / "prompts").rglob("*.jinja")
)


def prompt(body: str) -> Prompt:
    return Prompt.parse("items/mine", f"---\ndescription: a test\n---\n{{% block text %}}{body}{{% endblock %}}\n")


def render(body: str, **item: object) -> str:
    return prompt(body).render("text", item=item)


def with_items(rows: list[dict]) -> Dataset:
    """The small log with another item table, put in place unchecked, as a reader might."""
    return replace(Dataset.from_tables("toy", *toy_tables()), items=pl.DataFrame(rows))


# The file


@pytest.mark.parametrize(
    "source",
    ["{% block text %}x{% endblock %}", "---\na: 1\n{% block text %}x{% endblock %}", "x\n---\na: 1\n---\n", ""],
    ids=["no head", "a head without an end", "text before the head", "empty"],
)
def test_a_prompt_must_begin_with_a_head(source):
    with pytest.raises(PromptError, match="prompt 'items/mine' must begin with a YAML head between two lines of '---'"):
        Prompt.parse("items/mine", source)


@pytest.mark.parametrize("head", ["just words", "- a\n- b", "a: [1"])
def test_a_head_that_is_no_mapping_is_refused(head):
    with pytest.raises(PromptError, match="prompt 'items/mine': "):
        Prompt.parse("items/mine", f"---\n{head}\n---\nx")


def test_the_head_is_read_and_the_source_kept_whole():
    source = "---\ndescription: Title – only\nmax_chars: 9\n---\n{% block text %}---\n{{ item.title }}{% endblock %}"
    parsed = Prompt.parse("items/mine", source)
    assert (parsed.head.description, parsed.head.max_chars) == ("Title – only", 9)
    assert parsed.source == source
    assert parsed.render("text", item={"title": "Heat"}) == "---\nHeat"
    assert Prompt.parse("items/mine", "---\n---\n{% block text %}x{% endblock %}").head.description == ""


def test_a_head_option_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(PromptError, match="no option 'max_char' in the head; did you mean 'max_chars'"):
        Prompt.parse("items/mine", "---\nmax_char: 3\n---\n{% block text %}x{% endblock %}")
    with pytest.raises(PromptError, match=r"max_chars: .* \(came: 0\)"):
        Prompt.parse("items/mine", "---\nmax_chars: 0\n---\n{% block text %}x{% endblock %}")


@pytest.mark.parametrize(
    "body", ["{{ item.title", "{% if %}", "{{ item.title | no_such_filter }}", "{{ item.genres | random }}"]
)
def test_a_body_that_jinja_cannot_parse_is_refused(body):
    with pytest.raises(PromptError, match="prompt 'items/mine': "):
        prompt(body)


def test_a_fault_of_syntax_names_the_line_of_the_file():
    with pytest.raises(PromptError, match="line 5: "):
        Prompt.parse("items/mine", "---\ndescription: a\n---\n{% block text %}\n{{ item. }}{% endblock %}")


def test_a_block_that_is_not_there_cannot_be_rendered():
    with pytest.raises(PromptError, match="prompt 'items/mine' has no block 'texts'; did you mean 'text'"):
        prompt("x").render("texts", item={})


@pytest.mark.parametrize("name", ["mine", "item/mine", "items", "other/items/mine"])
def test_a_prompt_lies_in_the_folder_of_its_kind(name):
    with pytest.raises(
        PromptError, match=r"must lie in one of the folders of the kinds.*\(have: instructions, items, p5, zeroshot\)"
    ):
        Prompt.parse(name, "---\n---\n{% block text %}x{% endblock %}")


# Where it is


def test_the_working_folders_prompts_come_first(tmp_path, monkeypatch):
    shipped = Prompt.load("items/title_genres")
    monkeypatch.chdir(tmp_path)
    assert Prompt.load("items/title_genres").source == shipped.source, "found from anywhere"
    own = tmp_path / "prompts" / "items" / "title_genres.jinja"
    own.parent.mkdir(parents=True)
    own.write_text("---\n---\n{% block text %}mine: {{ item.title }}{% endblock %}", encoding="utf-8")
    assert Prompt.load("items/title_genres").render("text", item={"title": "Heat"}) == "mine: Heat"
    other = own.with_name("other.jinja")
    other.write_text(own.read_text(encoding="utf-8"), encoding="utf-8")
    assert Prompt.load("items/other").name == "items/other"
    own.unlink()
    assert Prompt.load("items/title_genres").source == shipped.source, "what the first folder lacks comes from the next"


def test_a_prompt_that_is_nowhere_is_refused_with_the_nearest():
    with pytest.raises(PromptError, match="no prompt 'items/title_genre'; did you mean 'items/title_genres'"):
        Prompt.load("items/title_genre")


def test_a_prompt_is_utf_8_whatever_the_platform(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("prompts/items").mkdir(parents=True)
    source = "---\n---\n{% block text %}电影/Amélie {{ item.title }}{% endblock %}"
    Path("prompts/items/own.jinja").write_bytes(source.encode("utf-8"))
    assert Prompt.load("items/own").render("text", item={"title": "–"}) == "电影/Amélie –"
    Path("prompts/items/own.jinja").write_bytes(source.replace("电影", "").encode("latin-1", errors="replace"))
    with pytest.raises(PromptError, match=r"own.jinja is not UTF-8"):
        Prompt.load("items/own")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_prompt_is_read_and_says_what_it_is(name):
    assert Prompt.load(name).head.description


# Rendering


def test_a_field_that_the_data_lacks_is_named(toy):
    with pytest.raises(
        PromptError, match=r"line 4: item has no field 'titel'; did you mean 'title'\? \(have: brand, .*title"
    ):
        item_texts(toy, prompt("{% if item.genres == ['never'] %}{{ item.titel }}{% endif %}x"))
    with pytest.raises(PromptError, match=r"'titel'; fields: \{'item': \['genres', 'title'\]\}"):
        render("{{ item.titel }}", title="Heat", genres=["Crime"])


@pytest.mark.parametrize(
    "body",
    ["{{ item.genres | join(' ') }}", "{{ item.title + 1 }}", "{{ 1 / 0 }}", "{{ item.title.nothing() }}"],
    ids=["a null", "another type", "no number", "no such method"],
)
def test_whatever_else_goes_wrong_in_a_template_is_the_prompts_fault(body):
    with pytest.raises(PromptError, match=r"prompt 'items/mine': line 6: .*fields: \{'item': "):
        render(f"\n\n{body}", title="Heat", genres=None)


@pytest.mark.parametrize(
    "body",
    [
        "{{ item.__class__.__mro__ }}",
        "{{ item.__class__ }}",
        "{{ item.title.__class__.__mro__[1].__subclasses__() }}",
        "{{ item['__class__'] }}",
        "{{ item | attr('__class__') }}",
        "{{ ''.format.__globals__ }}",
        "{{ '{0.__class__}'.format(item) }}",
        "{{ self.__init__.__globals__ }}",
        "{{ range(10 ** 9) }}",
        "{{ open('/etc/passwd') }}",
        "{{ item.update({'title': 'Alien'}) }}",
        "{{ item.genres.append('War') }}",
    ],
)
def test_the_sandbox_lets_nothing_out(body):
    item = {"title": "Heat", "genres": ["Crime"]}
    with pytest.raises(PromptError, match="prompt 'items/mine': "):
        prompt(body).render("text", item=item)
    assert item == {"title": "Heat", "genres": ["Crime"]}


def test_titles_are_data_and_no_markup():
    for title in ("Rock & Roll <b>Live</b>", "{{ 7 * 7 }}", '"Great Performances" Cats (1998)', "{% block text %}"):
        assert render("{{ item.title }}", title=title) == title


def test_outer_blanks_go_and_inner_ones_stay():
    assert render("\n  {{ item.title }}  \n", title=" Seven  Samurai ") == "Seven  Samurai"


# Item texts


def test_the_shipped_prompt_writes_the_title_and_then_the_genres():
    shipped = Prompt.load("items/title_genres")
    rows = [
        ({"title": "Heat (1995)", "genres": ["Action", "Crime"]}, "Heat (1995), Action Crime"),
        ({"title": "Heat (1995)", "genres": []}, "Heat (1995)"),
        ({"title": "Heat (1995)", "genres": None}, "Heat (1995)"),
        ({"title": "", "genres": ["Crime"], "brand": "Warner"}, "Warner, Crime"),
    ]
    bare = dict.fromkeys(["description", "features", "brand"])
    assert [shipped.render("text", item=bare | item) for item, _ in rows] == [text for _, text in rows]


def test_item_texts_stand_at_the_items_index_behind_an_empty_one(toy):
    texts = item_texts(toy, Prompt.load("items/title_genres"))
    assert len(texts) == toy.num_items + 1
    assert texts[:3] == ["", "Film 0 (1950), Comedy", "Film 1 (1951), Drama"]
    assert [toy.item_ids[row].removeprefix("i") for row in range(1, 31)] == [text.split()[1] for text in texts[1:]]


def test_an_item_without_any_text_is_refused_by_its_id():
    """A8: `{"title":"","description":[],"features":[]}`."""
    dataset = with_items(
        [
            {"item_id": "B1", "title": "Heat", "description": ["long"], "features": []},
            {"item_id": "B2", "title": "", "description": [], "features": []},
        ]
    )
    for name in ("{{ item.title }}", "{{ item.title or item.description | join or item.features | join }}"):
        with pytest.raises(DataError) as error:
            item_texts(dataset, prompt(name))
        assert "gives no text for 1 items, such as ['B2']; fill the field" in str(error.value)
        assert "use a prompt with other fields or, for a few, one that calls them Untitled" in str(error.value)
    for name in UNTITLED:
        assert name in str(error.value)
        assert item_texts(dataset, Prompt.load(name))[1:] == ["Heat", "Untitled"]


def test_a_prompt_can_fall_back_to_the_next_field():
    dataset = with_items(
        [
            {"item_id": "B1", "title": "", "description": "A film."},
            {"item_id": "B2", "title": "Heat", "description": ""},
        ]
    )
    assert item_texts(dataset, prompt("{{ item.title or item.description }}")) == ["", "A film.", "Heat"]


def test_an_id_model_gets_along_without_text_and_a_text_model_does_not():
    log, _ = toy_tables()
    dataset = Dataset.from_tables("bare", log)
    silent = lambda done, total: None
    assert ItemText.of(config.load(None, [], {}), dataset, silent).texts is None
    with pytest.raises(DataError, match="'items/title_genres' gives no text for 30 items"):
        ItemText.of(config.load(None, [], {"model": "minilm-l6"}), dataset, silent)


# Places


def test_folders_that_are_not_there_are_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert prompting.folders() == [ROOT / "prompts"]
    Path("prompts").mkdir()
    assert prompting.folders() == [Path("prompts"), ROOT / "prompts"]
    monkeypatch.chdir(ROOT)
    assert prompting.folders() == [Path("prompts")], "one folder is not its own rival"


@pytest.mark.parametrize("name", ["../prompts/items/title", "items/../items/title", "/etc/passwd", "items/title.jinja"])
def test_a_name_stays_below_the_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("prompts/items").mkdir(parents=True)
    with pytest.raises(PromptError, match="no prompt"):
        Prompt.load(name)


@pytest.mark.slow
@pytest.mark.network
def test_an_installed_wheel_brings_its_prompts(tmp_path):
    made = execute(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)
    )
    assert made.returncode == 0, made.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        f"import os; os.chdir({str(tmp_path)!r}); from llmrec.prompting import found\n"
        "for name, paths in found().items(): print(name, *paths, sep='|')"
    )
    shown = execute(sys.executable, "-P", "-c", code, PYTHONPATH=str(tmp_path / "site")).stdout.splitlines()
    place = tmp_path / "site" / "llmrec" / "prompts"
    assert shown == [f"{name}|{place / name}.jinja" for name in SHIPPED]


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ('history | map(attribute="title") | join(", ")', "A, B"),
        ('history | map(attribute="genres.0") | join(", ")', "x, z"),
        ('history | map(attribute="title", default="-") | map("lower") | join(separator)', "a; b"),
        ('history | map(attribute="title") | first', "A"),
    ],
)
def test_a_field_of_all_rows_is_mapped_as_jinja_does(expression, shown):
    prompt = Prompt.parse(
        "p5/x",
        f"---\n---\n{{% block input %}}{{{{ {expression} }}}}{{% endblock %}}"
        "{% block target %}{{ item.id }}{% endblock %}",
    )
    rows = [{"title": "A", "genres": ["x", "y"]}, {"title": "B", "genres": ["z"]}]
    assert prompt.render("input", history=rows, separator="; ") == shown


def test_a_field_that_a_row_does_not_have_is_no_field_of_all_rows():
    prompt = Prompt.parse(
        "p5/x",
        '---\n---\n{% block input %}{{ history | map(attribute="titel") | join }}{% endblock %}'
        "{% block target %}{{ item.id }}{% endblock %}",
    )
    with pytest.raises(PromptError, match=r"line 3: .*titel"):
        prompt.render("input", history=[{"title": "A"}])
