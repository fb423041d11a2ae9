"""``llmrec prompts`` as a user meets it: what there is, one prompt for a real user, and every fault on a line."""

import json
from pathlib import Path

import polars as pl
import pytest
from conftest import ROOT, toy_tables, write_recbole
from small_runs import Answer

from llmrec import cli
from llmrec.prompting import Prompt, found

ML_100K = ROOT.parent / "shared" / "data" / "ml-100k"
GOOD = "{% block input %}{{ history[-1].title }}{% endblock %}{% block target %}{{ item.title }}{% endblock %}"


@pytest.fixture
def llmrec(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs ``llmrec prompts`` in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*words: object) -> Answer:
        capsys.readouterr()
        code = cli.main(["prompts", *map(str, words)])
        return Answer(code, *capsys.readouterr())

    return call


def write(name: str, body: str, head: str = "description: mine") -> Path:
    path = Path("prompts") / f"{name}.jinja"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"---\n{head}\n---\n{body}\n", encoding="utf-8")
    return path


# llmrec prompts list


def test_list_shows_every_prompt_with_its_kind_and_its_file(llmrec):
    answer = llmrec("list")
    assert answer.code == 0
    place = ROOT / "prompts" / "zeroshot" / "rank.jinja"
    assert f"zeroshot/rank  [zeroshot]\n  {Prompt.load('zeroshot/rank').head.description}\n  {place}\n" in answer.out
    said = [line for line in answer.out.splitlines() if line.startswith("  ") and not line.endswith(".jinja")]
    assert max(map(len, said)) <= 80 and len(said) > len(found()), "long descriptions are folded"
    assert [line.split()[0] for line in answer.out.splitlines() if "[" in line] == list(found())


def test_list_says_which_file_shadows_which(llmrec):
    own = write("items/title", "{% block text %}{{ item.title }}{% endblock %}")
    shipped = ROOT / "prompts" / "items" / "title.jinja"
    assert f"items/title  [items]\n  mine\n  {own} (shadows {shipped})\n" in llmrec("list").out
    own.unlink()
    assert "shadows" not in llmrec("list").out


def test_list_shows_a_damaged_prompt_with_what_is_wrong(llmrec):
    write("items/bad", "{% block txt %}x{% endblock %}")
    write("other/mine", "x")
    answer = llmrec("list")
    assert answer.code == 0
    text = " ".join(answer.out.split())
    assert "items/bad [damaged] prompt 'items/bad': line 4: no block 'txt'; did you mean 'text'" in text
    assert "other/mine [damaged] prompt 'other/mine' must lie in one of the folders of the kinds" in text


# llmrec prompts show


def test_show_renders_for_a_real_user(llmrec, toy_folder: Path):
    answer = llmrec("show", "zeroshot/rank", "--data", "toy", "--data-dir", toy_folder, "--user", "u7", "--json")
    assert answer.code == 0
    shown = json.loads(answer.out)
    log, items = toy_tables()
    own = log.filter(user_id="u7")["item_id"].to_list()
    rows = zip(items["item_id"], items["title"], items["genres"])
    titles = {item: f"{title}, {' '.join(genres)}" for item, title, genres in rows}
    assert shown["items"] == "items are shown by items/title_genres", "as eval.zeroshot does"
    assert (shown["user"], shown["target"], shown["history"]) == ("u7", own[-1], own[:-1][-10:])
    assert len(shown["candidates"]) == 5
    sections = shown["sections"]
    assert list(sections) == ["system", "user", "answer"]
    assert titles[own[-1]].startswith(sections["answer"])
    assert [line[2:] for line in sections["user"].splitlines() if line.startswith("- ")] == [
        titles[item] for item in own[:-1][-10:]
    ]
    for number, item in enumerate(shown["candidates"], 1):
        assert f"\n{number}. {titles[item]}\n" in sections["user"]


def test_show_says_so_where_eval_zeroshot_would_refuse_the_data(llmrec, tmp_path: Path):
    log, items = toy_tables()
    some = pl.when(pl.col("item_id") != "i4")
    bare = items.with_columns(title=some.then("title").otherwise(pl.lit("")), genres=some.then("genres").otherwise([]))
    data = ["--data", "toy", "--data-dir", write_recbole(tmp_path / "toy", "toy", log, bare)]
    said = "items are shown by their titles or ids; eval.zeroshot would say: toy: prompt 'items/title_genres' gives no"
    answer = llmrec("show", "zeroshot/rank", *data)
    assert answer.code == 0
    assert said in " ".join(answer.out.split())
    assert f"zeroshot/rank: {said}" in llmrec("check", "zeroshot/rank", *data).err


def test_show_folds_long_text_for_the_terminal(llmrec, toy_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "40")
    answer = llmrec("show", "p5/sequential/next_item", "--data", "toy", "--data-dir", toy_folder)
    head, *lines = answer.out.splitlines()
    assert head.startswith("p5/sequential/next_item for user u0: ")
    assert [line for line in lines if line.startswith("[")] == ["[input]", "[target]"]
    assert max(map(len, lines)) <= 40
    assert "item_i" in answer.out


def test_an_item_prompt_is_shown_for_the_users_target(llmrec, toy_folder: Path):
    answer = llmrec("show", "items/title_genres", "--data", "toy", "--data-dir", toy_folder, "--json")
    shown = json.loads(answer.out)
    number = int(shown["target"][1:])
    assert shown["sections"]["text"] == f"Film {number} ({1950 + number}), {('Comedy', 'Drama', 'War')[number % 3]}"


def test_users_and_prompts_that_do_not_exist_end_with_2(llmrec, tmp_path: Path, toy_folder: Path):
    data = ["--data", "toy", "--data-dir", toy_folder]
    for words, message in (
        (["show", "zeroshot/rank", *data, "--user", "u71"], "toy has no user 'u71'; there are 'u7', "),
        (["show", "zeroshot/rnk", *data], "no prompt 'zeroshot/rnk'; did you mean 'zeroshot/rank'"),
        (["check", "zeroshot/rnk", *data], "no prompt 'zeroshot/rnk'; did you mean 'zeroshot/rank'"),
        (["check", "../prompts/items/title", *data], "no prompt '../prompts/items/title'"),
        (["check", *data, "--cases", "0"], "cases must be at least 1, came 0"),
        (["check", *data, "--split", "leave_one"], "no split 'leave_one'; did you mean 'leave_one_out'"),
    ):
        answer = llmrec(*words)
        assert (answer.code, answer.out) == (2, "")
        assert message in answer.err
    log, items = toy_tables()
    short = pl.concat([log, pl.DataFrame({"user_id": ["new"], "item_id": ["i1"], "timestamp": [1], "rating": [1.0]})])
    folder = write_recbole(tmp_path / "short", "toy", short, items)
    answer = llmrec("show", "zeroshot/rank", "--data", "toy", "--data-dir", folder, "--user", "new")
    assert answer.code == 2
    assert "user 'new' cannot be asked about: 1 interactions, needs 3" in answer.err
