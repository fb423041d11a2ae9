"""Finished cells of a study, small enough for the repository: run folders do not outlive the machine they lie on.

A folder holds ``cases.parquet`` and ``protocol.json``, the same for all its cells, and for each cell
``NAME.parquet`` with what its model made of every case, in the order of the cases, and ``NAME.json`` with the options
it was trained with, its provenance and its validation nDCG@10. Lists of items are not kept.
"""

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any

import polars as pl

from eval.cells import Cell, require_equal
from llmrec import protocol
from llmrec.errors import RunError
from llmrec.protocol import Protocol
from llmrec.runs import CASES, RANKINGS, RunTable, read_json, write_atomically, write_json

_WRITING = Lock()
"""Cells that end at the same time may bring the same baselines."""
_OWN = ("target_above", "target_tied")
OF_THE_MACHINE = ("output", "data_dir")
"""Options that are not kept."""


class Kept:
    """The cells of one data set.

    Args:
        folder: in the repository.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """What is kept."""
        return sorted(path.stem for path in self.folder.glob("*.json") if path.stem != "protocol")

    def has(self, name: str, asked: dict[str, Any]) -> bool:
        """Whether a cell is kept.

        Raises:
            RunError: it is, and was trained with other options.
        """
        if name not in self.names():
            return False
        require_equal(name, self.load(name)[1], asked, apart_from=OF_THE_MACHINE)
        return True

    def begin(self, table: RunTable) -> None:
        """Writes down the cases and the protocol, if there are none yet."""
        with _WRITING:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / "protocol.json").exists():
                write_atomically(self.folder / "cases.parquet", table.cases.drop(_OWN).write_parquet)
                write_json(self.folder / "protocol.json", table.protocol.model_dump())

    def save(
        self,
        name: str,
        table: RunTable,
        *,
        seed: int,
        options: Mapping[str, Any] = MappingProxyType({}),
        validation: float | None = None,
    ) -> None:
        """Keeps a cell.

        Args:
            name: of the cell.
            table: what came of it.
            seed: of its training.
            options: it was trained with; a baseline has none.
            validation: its nDCG@10 there.

        Raises:
            ProtocolError: it was measured otherwise than those that are here.
        """
        self.begin(table)
        protocol.require_equal({name: table.protocol, "kept cells": self.protocol()})
        order = pl.read_parquet(self.folder / "cases.parquet").select("case_id")
        own = order.join(table.cases.select("case_id", *_OWN), on="case_id", how="left", maintain_order="left")
        small = own.select(pl.col(_OWN).cast(pl.Int32))
        path = self.folder / f"{name}.parquet"
        config = {key: value for key, value in options.items() if key not in OF_THE_MACHINE}
        facts = {"config": config, "seed": seed, "validation": validation, "provenance": table.provenance}
        with _WRITING:
            write_atomically(path, lambda part: small.write_parquet(part, compression="zstd", compression_level=19))
            write_json(self.folder / f"{name}.json", facts)

    def load(self, name: str) -> tuple[Cell, dict[str, Any]]:
        """A cell and the options it was trained with.

        Raises:
            RunError: it is not here.
        """
        facts = read_json(self.folder / f"{name}.json")
        base = pl.read_parquet(self.folder / "cases.parquet")
        own = pl.read_parquet(self.folder / f"{name}.parquet")
        if len(own) != len(base):
            raise RunError(f"{self.folder / name}.parquet has {len(own)} rows for {len(base)} cases")
        cases = pl.concat([base, own.cast(pl.Int64)], how="horizontal").select(*CASES)
        table = RunTable(cases, pl.DataFrame(schema=RANKINGS), self.protocol(), facts["provenance"])
        return Cell({}, facts["seed"], facts["validation"] or 0.0, table), facts["config"]

    def protocol(self) -> Protocol:
        """How all cells were measured.

        Raises:
            RunError: there are none.
        """
        return Protocol.model_validate(read_json(self.folder / "protocol.json"))
