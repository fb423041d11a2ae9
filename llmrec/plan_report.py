"""The costs of loading a model, for people: ``llmrec plan``."""

from dataclasses import asdict
from typing import Any

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from llmrec.loading.plan import Rates, Shape, chosen, costs

WIDTH = 80


def facts(model: str, shape: Shape, rates: Rates, items: int, tokens: int, memory: int | None) -> dict[str, Any]:
    """Plain values: the model, what was measured, a row per strategy, and what ``auto`` takes at each precision."""
    table = costs(shape, items, tokens, rates)
    free = psutil.virtual_memory().available if memory is None else memory
    return {
        "model": model,
        "shape": asdict(shape),
        "items": items,
        "tokens": tokens,
        "memory": free,
        "operations_per_second": rates.operations,
        "disk_bytes_per_second": rates.disk,
        "strategies": [asdict(cost) | {"fits": cost.peak <= free} for cost in table],
        "auto": {"fp32": chosen(shape, "fp32", free), "bf16": chosen(shape, "bf16", free)},
    }


def show(found: dict[str, Any]) -> str:
    """The facts as a table of at most 80 columns."""
    shape, rates = found["shape"], found["operations_per_second"]
    title = f"{found['model']}: {shape['parameters'] / 1e9:.2f} billion parameters in {shape['blocks']} blocks"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for heading in ("features.loading", "weights", "peak memory", "operations", "time", ""):
        table.add_column(heading, justify="left" if heading in ("features.loading", "") else "right")
    for row in found["strategies"]:
        fits = "fits" if row["fits"] else "too large"
        cells = [_bytes(row["weights"]), _bytes(row["peak"]), f"{row['operations']:.1e}", _duration(row["seconds"])]
        table.add_row(row["strategy"], *cells, fits)
    console = Console(width=WIDTH, highlight=False, color_system=None)
    with console.capture() as text:
        console.print(table)
        console.print(
            f"{found['items']:,} items of {found['tokens']} tokens; {_bytes(found['memory'])} of memory. Measured: "
            f"{rates['fp32'] / 1e12:.2f} (fp32) and {rates['bf16'] / 1e12:.2f} (bf16) TFLOP/s, "
            f"{found['disk_bytes_per_second'] / 1e9:.1f} GB/s from the disk.\n"
            f"--loading auto takes: {found['auto']['bf16']} (bf16), {found['auto']['fp32']} (fp32)."
        )
    return "\n".join(line.rstrip() for line in text.get().splitlines()).strip("\n")


def _bytes(number: int | float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
