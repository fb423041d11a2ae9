"""What the P5 study says of runs beside others, from results made by hand."""

from tables import counted

from eval.p5_study import OPEN, Result


def test_a_share_of_nothing_is_told_and_no_error():
    half = [counted([("ann", 0, 0), ("bob", 50, 0)])]
    result = Result(rankings={OPEN: {"p5": half, "good": half, "bad": [counted([("ann", 50, 0), ("bob", 50, 0)])]}})
    result.pairs = [("p5", "mix")]
    result.compare(["good", "bad"])
    assert result.notes == [
        f"{OPEN}: HR@10 of p5 is 1.00 of that of good",
        f"{OPEN}: HR@10 of p5 is 0.5000, that of bad 0",
    ]
