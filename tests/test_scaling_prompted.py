"""Answer (v) of a scaling study: rows that eval.zeroshot kept."""

import json

from eval import scaling_prompted


def row(name: str, value: float) -> dict:
    return {"name": name, "n": 40, "metrics": {"HR@1": {"value": value, "low": value - 0.1, "high": value + 0.1}}}


def test_a_prompted_model_stands_beside_popularity_and_the_runs_of_the_study(tmp_path):
    assert list(scaling_prompted.lines("toy", "toy-data", tmp_path)) == ["- not measured"]
    rows = [row("popularity", 0.5), row("bm25", 0.4), row("tiny letters", 0.25), row("scaling-toy-sasrec-tiny", 0.75)]
    study = {"model": "tiny letters", "rows": rows, "chance": {"HR@1": 0.25, "MRR@10": 0.5}}
    for name in ("toy-data-hr-1-tiny", "toy-data-ndcg-10-tiny", "toy-datas-hr-1-tiny", "toy-hr-1-tiny"):
        (tmp_path / f"zeroshot-{name}.json").write_text(json.dumps(study), encoding="utf-8")
    assert list(scaling_prompted.lines("toy", "toy-data", tmp_path)) == [
        "- tiny letters, 40 users, HR@1: .2500 [.1500, .3500], chance 0.2500",
        "- beside it: popularity .5000 [.4000, .6000], scaling-toy-sasrec-tiny .7500 [.6500, .8500] "
        "(zeroshot-toy-data-hr-1-tiny.md)",
    ]
