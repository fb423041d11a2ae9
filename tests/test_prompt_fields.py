"""What is found in a prompt without rendering it: blocks, variables, fields of every branch, and leaks."""

import pytest

from llmrec.errors import PromptError
from llmrec.prompting import Prompt

ITEM = ["item_id", "title", "genres"]
COLUMNS = {
    "item": ITEM,
    "shown": ITEM,
    "candidate": ITEM,
    "user": ["user_id", "age"],
    "interaction": ["timestamp", "rating", "review"],
}


def p5(given: str, target: str = "{{ item.title }}") -> Prompt:
    body = f"{{% block input %}}{given}{{% endblock %}}\n{{% block target %}}{target}{{% endblock %}}\n"
    return Prompt.parse("p5/mine", f"---\n---\n{body}")


def unknown(given: str, target: str = "{{ item.title }}") -> list[str]:
    return p5(given, target).anatomy.unknown_fields(COLUMNS)


def test_blocks_are_those_of_the_kind():
    with pytest.raises(PromptError) as error:
        Prompt.parse("p5/mine", "---\n---\n{% block inputs %}x{% endblock %}{% block target %}y{% endblock %}")
    assert error.value.faults == [
        "line 3: no block 'inputs'; did you mean 'input'? (have: input, target)",
        "block 'input' is missing (needed: input, target)",
    ]
    with pytest.raises(
        PromptError, match=r"no block 'text'.*'system' is missing.*'user' is missing.*'answer' is missing"
    ):
        Prompt.parse("zeroshot/mine", "---\n---\n{% block text %}x{% endblock %}")


def test_text_that_no_block_holds_is_refused():
    with pytest.raises(PromptError, match="line 3: text outside the blocks"):
        Prompt.parse("items/mine", "---\n---\nA film: {% block text %}{{ item.title }}{% endblock %}")
    with pytest.raises(PromptError, match="line 4: text outside the blocks"):
        Prompt.parse("items/mine", "---\n---\n\n{% set a = 1 %}{% block text %}x{% endblock %}")
    Prompt.parse("items/mine", "---\n---\n{# a remark #}\n{% block text %}x{% endblock %}\n\n")


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("{% include 'a' %}", "include"),
        ("{% from 'a' import b %}", "fromimport"),
        ("{% macro a(b) %}{{ b.titel }}{% endmacro %}", "macro"),
        ("{% block inner %}x{% endblock %}", "block"),
    ],
)
def test_a_prompt_is_the_blocks_of_one_file(given, what):
    with pytest.raises(PromptError, match=f"line 3: '{what}' has no place in a prompt"):
        p5(given)


@pytest.mark.parametrize("name", ["users", "range", "self", "loop", "namespace", "target"])
def test_a_variable_that_no_prompt_has_is_refused_with_the_nearest(name):
    with pytest.raises(PromptError, match=rf"block 'input' has no variable '{name}'.*\(have: candidates, claimed, "):
        p5(f"{{% if history %}}{{{{ {name}.x }}}}{{% endif %}}")


def test_an_item_prompt_knows_the_item_alone():
    for name in ("user", "history", "candidates", "interaction"):
        with pytest.raises(PromptError, match=rf"block 'text' has no variable '{name}'.*\(have: item\)"):
            Prompt.parse("items/mine", f"---\n---\n{{% block text %}}{{{{ {name} }}}}{{% endblock %}}")


@pytest.mark.parametrize(
    "given",
    [
        "{{ user.titel }}",
        "{% if user.age == -1 %}{{ user['titel'] }}{% endif %}",
        "{{ 'x' if user.age else user.titel }}",
        "{% for row in history %}{{ row.titel }}{% endfor %}",
        "{% for row in history | reverse %}{{ row.titel }}{% endfor %}",
        "{% for row in history[-3:] if row.titel %}x{% endfor %}",
        "{% for row in candidates %}x{% else %}{{ history[0].titel }}{% endfor %}",
        "{{ (history | last).titel }}",
        "{{ history | map(attribute='titel') | join(', ') }}",
        "{{ history | map(attribute='titel.x') | join(', ') }}",
        "{{ history | selectattr('titel') | list | length }}",
        "{{ history | sort(attribute='titel') | length }}",
        "{{ user | attr('titel') }}",
        "{% set last = history[-1] %}{{ last.titel }}",
        "{% with one = candidates[0] %}{{ one.titel }}{% endwith %}",
        "{% set text %}{{ user.titel }}{% endset %}{{ text }}",
        "{% filter upper %}{{ user.titel }}{% endfilter %}",
        "{{ user.age or user.titel }}",
    ],
)
def test_a_field_that_does_not_exist_is_found_wherever_it_stands(given):
    (fault,) = unknown(given)
    assert fault.startswith("line 3: ")
    assert "has no field 'titel'" in fault
    table = COLUMNS["user" if "user." in fault.split(" has ")[0] + "." else "item"]
    assert fault.endswith(f"(have: {', '.join(sorted(table))})")


def test_fields_that_exist_raise_no_question():
    given = (
        "{{ user.user_id }}{% for row in history[-3:] | reverse %}{{ loop.index }} {{ row.title or row['item_id'] }}"
        "{{ row.genres | join(', ') }}{{ '' if loop.last else ';' }}{% endfor %}"
        "{% for genre in history[0].genres %}{{ genre.x }}{% endfor %}{% for a, b in [(1, 2)] %}{{ a + b }}{% endfor %}"
    )
    assert unknown(given) == []


def test_a_list_has_no_fields_and_a_row_is_not_printed_whole():
    with pytest.raises(PromptError, match="history is a list of rows and has no field 'title'; loop over it"):
        p5("{{ history.title }}")
    with pytest.raises(PromptError, match="prints a whole list of rows of history; name a field"):
        p5("{{ history }}")
    with pytest.raises(PromptError, match="prints a whole row of user; name a field"):
        p5("{{ user }}")
    for call in ("interaction.get('rating')", "interaction.values() | join", "history.copy()"):
        what = call.partition(".")[0]
        with pytest.raises(PromptError, match=rf"calls '\w+' of a .*row.* of {what}; name a field"):
            p5("{{ " + call + " }}")
    assert unknown("{{ user.user_id.upper() }}{{ history[0].title.replace('a', user.user_id) }}") == []


# Leaks


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("{{ item.title }}", "{{ item.title }}"),
        ("{{ item.genres | join }}", "{{ item.title }}"),
        ("{% if item.title == 'Heat' %}x{% endif %}", "{{ item.item_id }}"),
        ("{% if user.age == -1 %}{{ item['title'] }}{% endif %}", "{{ item.title }}"),
        ("{{ interaction.review }}", "{{ item.title }}"),
        ("{{ interaction.review }}", "{{ interaction.explanation }}"),
        ("{{ item.title }} {{ interaction.rating }}", "{{ interaction.rating }}"),
        ("{% for key in interaction %}{{ interaction[key] }}{% endfor %}", "{{ interaction.rating }}"),
        ("{{ interaction.rating }}", "{% for key in interaction %}{{ interaction[key] }}{% endfor %}"),
        ("{{ 'liked' if interaction.rating > 3 else 'not' }}", "{{ interaction.rating | round }}"),
        ("{{ user.age }} {{ user.gender }}", "{{ user.age }}"),
    ],
)
def test_a_target_in_its_own_input_is_refused(given, target):
    """C4: template with `{target}` in the input side."""
    with pytest.raises(PromptError, match="gives block 'input' its own answer"):
        p5(given, target)
    body = "{% block system %}{% endblock %}" + f"{{% block user %}}{given}{{% endblock %}}"
    with pytest.raises(PromptError, match="gives block 'user' its own answer"):
        Prompt.parse("zeroshot/mine", f"---\n---\n{body}{{% block answer %}}{target}{{% endblock %}}")


@pytest.mark.parametrize("target", ["{{ item.title }}", "{{ following[0].title }}", "{{ interaction.rating }}", "yes"])
@pytest.mark.parametrize(
    "given",
    [
        "{{ following[0].title }}",
        "{{ following[-1].genres | join }}",
        "{{ following | map(attribute='item_id') | join }}",
        "{% for row in following %}{{ row.title }}{% endfor %}",
        "{% if following | length > 3 %}many{% endif %}",
    ],
)
def test_what_follows_is_never_shown(given, target):
    """C4: what comes next has the target at its beginning, whatever is asked for."""
    with pytest.raises(PromptError, match=r"line 3: following.* gives block 'input' its own answer"):
        p5(given, target)


def test_a_target_of_what_follows_hides_the_item():
    with pytest.raises(PromptError, match=r"item.title gives block 'input' its own answer: the item is what is to be"):
        p5("{{ item.title }}", "{{ following | map(attribute='title') | join }}")


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("{{ user.user_id }} {{ item.title }}?", "{{ interaction.rating }}"),
        ("{{ item.title }}: {{ interaction.review }}", "{{ interaction.rating }}"),
        ("{{ interaction.rating }} for {{ item.title }}", "{{ interaction.review }}"),
        ("{{ user.user_id }} {{ history[-1].title }}", "{{ user.age }}"),
        ("{% for row in candidates %}{{ row.title }}{% endfor %}", "{{ item.title }}"),
        ("{% for item in history %}{{ item.title }}{% endfor %}", "{{ item.title }}"),
    ],
)
def test_what_a_family_needs_may_be_shown(given, target):
    assert unknown(given, target) == []


@pytest.mark.parametrize(
    ("given", "lacking"),
    [
        ("{{ interaction.feature }}", [{"feature": ""}, {"feature": None}]),
        ("{{ interaction.feature }} {{ interaction.rating }}", [{"rating": None}, {"feature": ""}]),
        ("{{ interaction.feature or interaction.summary }}", [{"feature": "", "summary": ""}]),
    ],
)
def test_an_input_lacks_what_it_shows_and_the_interaction_has_not(given, lacking):
    anatomy, whole = (
        p5(given, "{{ interaction.explanation }}").anatomy,
        {"rating": 0.0, "feature": "fit", "summary": "x"},
    )
    assert not anatomy.lacks(whole | {"explanation": "", "review": ""}), "what is not shown may be empty"
    assert all(anatomy.lacks(whole | empty) for empty in lacking)
    assert anatomy.lacks(whole | {"feature": ""}) == ("or" not in given)
