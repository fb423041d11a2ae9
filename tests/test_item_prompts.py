"""Item prompts: the text of every item, what it falls back to, and the prompts that are shipped."""

from dataclasses import replace

import polars as pl
import pytest
from conftest import toy_tables

from llmrec import config, prompting
from llmrec.console import Console
from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.item_text import ItemText
from llmrec.prompting import Prompt, fallbacks, item_texts


def prompt(body: str) -> Prompt:
    return Prompt.parse("items/mine", f"---\ndescription: a test\n---\n{{% block text %}}{body}{{% endblock %}}\n")


def render(body: str, **item: object) -> str:
    return prompt(body).render("text", item=item)


def with_items(rows: list[dict]) -> Dataset:
    """The small log with another item table, put in place unchecked, as a reader might."""
    return replace(Dataset.from_tables("toy", *toy_tables()), items=pl.DataFrame(rows))


# Shipped item prompts

WITHOUT = {"title": None, "description": None, "features": None, "brand": None, "categories": None}
FULL = {"title": "Mug", "description": "Holds tea.", "features": ["Blue", "Big"], "brand": "Kiln"}
CASES = [
    ("items/title", {}, "Mug"),
    ("items/title", {"title": ""}, "Holds tea."),
    ("items/title", {"title": "", "description": ""}, "Blue Big"),
    ("items/title", {"title": "", "description": "", "features": []}, "Kiln"),
    ("items/title_lower", {"title": "MUG of Tea"}, "mug of tea"),
    ("items/title_lower", {"title": ""}, "holds tea."),
    ("items/title_brand", {}, "Mug, Kiln"),
    ("items/title_brand", {"brand": None}, "Mug"),
    ("items/title_brand", {"title": None}, "Holds tea., Kiln"),
    ("items/title_or_untitled", {}, "Mug"),
    ("items/title_or_untitled", {"title": None}, "Untitled"),
    ("items/described_or_untitled", {"title": None}, "Holds tea."),
    ("items/described_or_untitled", WITHOUT, "Untitled"),
    ("items/title_categories", {"categories": ["Home", "Kitchen"]}, "Mug, Home, Kitchen"),
    ("items/title_categories", {"title": None}, "Holds tea."),
    ("items/title_description", {}, "Mug. Holds tea."),
    ("items/title_description", {"description": None}, "Mug. Blue Big"),
    ("items/title_description", {"description": None, "features": []}, "Mug. Kiln"),
    ("items/title_description", {"title": None}, "Holds tea."),
]


@pytest.mark.parametrize(("name", "changed", "text"), CASES)
def test_shipped_item_prompts_put_the_title_first_and_fall_back_where_it_is_empty(name, changed, text):
    assert item_texts(with_items([{"item_id": "B1", **FULL, **changed}]), Prompt.load(name)) == ["", text]


@pytest.mark.parametrize(
    "name", ["items/title", "items/title_brand", "items/title_categories", "items/title_description"]
)
def test_a_fall_back_prompt_needs_no_column_of_the_data_but_one(name):
    assert item_texts(with_items([{"item_id": "B1", "title": "Mug"}]), Prompt.load(name)) == ["", "Mug"]


def test_an_item_line_without_a_title_falls_through_and_is_counted(capsys):
    """A6: `{"asin":"B0"}`, a metadata line without `title`."""
    rows = [
        {"item_id": "B1", **FULL},
        {"item_id": "B2", **WITHOUT, "description": "A <b>lid</b>"},
        {"item_id": "B3", **WITHOUT, "description": "<br>", "features": ["Steel"]},
        {"item_id": "B4", **WITHOUT, "description": "A saucer"},
    ]
    shipped = Prompt.load("items/title")
    assert item_texts(with_items(rows), shipped) == ["", "Mug", "A lid", "Steel", "A saucer"]
    counted = {"description for want of a title": 2, "features for want of a title": 1}
    assert fallbacks(with_items(rows), shipped) == counted
    assert fallbacks(with_items(rows), prompt("{{ item.title }}")) == {}
    options = config.load(None, [], {"model": "minilm-l6"})
    options = options.model_copy(update={"features": options.features.model_copy(update={"prompt": "items/title"})})
    text = ItemText.of(options, with_items(rows), lambda done, total: None)
    assert text.fallbacks == counted
    Console().say_texts(text.missing, text.fallbacks)
    assert "2 items are described by their description for want of a title" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"gives no text for 1 items, such as \['B0'\]"):
        item_texts(with_items([*rows, {"item_id": "B0", **WITHOUT}]), shipped)


def test_films_of_one_name_stay_apart_and_entities_become_characters():
    """A26: `Sabrina (1954)` and `Sabrina (1995)`; `Rock &amp; Roll`."""
    titles = ["Sabrina (1954)", "Sabrina (1995)", "Rock &amp; Roll"]
    rows = [{"item_id": f"B{number}", "title": title} for number, title in enumerate(titles)]
    for name in ("items/title", "items/title_brand", "items/title_categories", "items/title_description"):
        assert item_texts(with_items(rows), Prompt.load(name))[1:] == [*titles[:2], "Rock & Roll"]
    assert len(set(item_texts(with_items(rows), Prompt.load("items/title_genres")))) == 4


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Rock &amp; Roll", "Rock & Roll"),
        ("a<br>b <B class='x'>c</B>", "a b c"),
        ("<style>p { color: red }</style>Mug<!-- aplus --> <script>x < y</script>", "Mug"),
        ("Mug <!-- never closed", "Mug"),
        ("5 < 6 and 7 > 6, a <3", "5 < 6 and 7 > 6, a <3"),
        ("&lt;p class=x&gt;&lt;b&gt;Mug&lt;/b&gt;&lt;br/&gt; blue", "Mug blue"),
        ("&lt;vector&gt; in C++, a &lt;b and c&gt; d", "<vector> in C++, a <b and c> d"),
        ("&lt;script&gt;var x&lt;/script&gt;Mug &lt;!-- no --&gt;&lt;blockquote&gt;blue", "Mug blue"),
        ("  two\n lines ", "two lines"),
        (["One", "two "], "One two"),
        ([], ""),
        (None, ""),
    ],
)
def test_clean_leaves_the_text_of_html(raw, text):
    assert prompting.clean(raw) == text
    assert render("{{ item.title | clean }}", title=raw) == text


def test_a_null_prints_as_nothing_and_never_as_none():
    assert render("{{ item.title }}", title=None) == ""
    assert render("x{{ item.year }}", year=0) == "x0"
