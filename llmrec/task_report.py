"""What a transfer method came to, in a table of its tasks."""

from typing import Any

_MEGABYTE = 1e6


def show(results: dict[str, Any]) -> str:
    """A line for each task: its first metric with interval and chance level, what learned, and what was forgotten.

    Args:
        results: the content of ``results.json``, see :mod:`llmrec.lifelong`.
    """
    lines = [f"{results['method']['name']}: {results['stored_bytes'] / _MEGABYTE:.2f} MB stored for all tasks"]
    width = max(len(task["name"]) for task in results["tasks"])
    for task in results["tasks"]:
        name, value = next((name, task["test"][name]) for name in ("nDCG@10", "accuracy") if name in task["test"])
        learned = f"{task['trainable_share']:.1%} of {task['parameters']:,} learned"
        forgot = [other for other, same in task["unchanged"].items() if not same]
        lines.append(
            f"  {task['name']:{width}}  {name} {value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}], "
            f"chance {value['chance']:.4f}; {learned}; {task['seconds']:.0f} s"
            + (f"; {task['capacity']['free']:.0%} of the weights still free" if "capacity" in task else "")
            + (f"; other answers than before to {', '.join(forgot)}" if forgot else "")
        )
    return "\n".join(lines)
