"""One process or many: accelerate's, with evaluation shared among them."""

import os
import resource
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import polars as pl
import psutil
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, gather_object

from llmrec import cores, evaluation, fsdp
from llmrec.interactions import Dataset
from llmrec.options import ProtocolOptions
from llmrec.scoring import Scorer
from llmrec.splits import Cases

_Model = TypeVar("_Model", bound=torch.nn.Module)


class Processes:
    """The processes of this run, as many as ``accelerate launch`` or ``torchrun`` started.

    Args:
        folder: of the run; TensorBoard's files go there.
    """

    def __init__(self, folder: Path) -> None:
        # The first process may encode items for hours before the others are wanted again.
        waiting = InitProcessGroupKwargs(timeout=timedelta(days=7))
        wrapped = DistributedDataParallelKwargs(broadcast_buffers=False)
        warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)  # accelerate knows no other name yet
        # Without a GPU accelerate takes what torchrun starts for so many single processes, unless it is told.
        several = int(os.environ.get("WORLD_SIZE", "1")) > 1
        # Parts choose their own precision; autocast would round sums that are promised in fp32.
        self.accelerator = Accelerator(
            mixed_precision="no",
            cpu=several and not torch.cuda.is_available(),
            log_with="tensorboard",
            project_dir=str(folder),
            kwargs_handlers=[waiting, wrapped],
        )
        fsdp.check_begun(self.accelerator)
        self.count, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        if self.count == 1:
            _take_all_cores()
        self.threads, self.load_average = torch.get_num_threads(), os.getloadavg()[0]
        self.is_main, self.device = self.accelerator.is_main_process, self.accelerator.device

    def __str__(self) -> str:
        number = "1 process" if self.count == 1 else f"{self.count} processes"
        number += " with FSDP" if self.accelerator.is_fsdp2 else ""
        return f"{number} on {self.device.type}, {self.threads} threads each, load average {self.load_average:.2f}"

    @contextmanager
    def main_first(self) -> Iterator[bool]:
        """Runs the body in the main process before the others; yields whether this is the main one.

        An error in the main process ends the others too, instead of leaving them waiting.
        """
        failed = False
        if not self.is_main:
            failed = self._told()
        try:
            if failed:
                torch.distributed.destroy_process_group()  # its threads may abort an interpreter that just ends
                raise SystemExit(2)
            yield self.is_main
        except BaseException:
            if self.is_main:
                self._tell(True)
            raise
        if self.is_main:
            self._tell(False)

    def place(self, model: _Model) -> _Model:
        """Moves a model to this process's device; of one that is to be spread a part will go there."""
        return model if self.accelerator.is_fsdp2 else model.to(self.device)

    def start_trackers(self) -> None:
        """Opens TensorBoard's log."""
        self.accelerator.init_trackers("tensorboard")

    def rank_cases(
        self, model: Scorer, cases: Cases, dataset: Dataset, options: ProtocolOptions
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Cases and rankings of all processes together, on each of them; every case exactly once, none padded."""
        share, mask = slice(self.rank, None, self.count), options.mask_history
        tables = evaluation.rank_cases(model, cases, dataset, mask_history=mask, k=options.k, share=share)
        if self.count == 1:
            return tables
        gathered = gather_object([tuple(table.to_dict(as_series=False) for table in tables)])
        parts = [
            pl.concat([pl.DataFrame(part[side], schema=tables[side].schema) for part in gathered]) for side in (0, 1)
        ]
        order = pl.DataFrame({"case_id": cases.case_ids(dataset.user_ids)})
        return tuple(order.join(part, on="case_id", maintain_order="left_right") for part in parts)  # type: ignore[return-value]

    @staticmethod
    def peak_memory() -> int:
        """The most bytes that this process held so far, pages of files included."""
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most

    def close(self) -> None:
        """Ends trackers and the process group."""
        self.accelerator.end_training()

    def _tell(self, failed: bool) -> None:
        if self.count > 1:
            torch.distributed.broadcast_object_list([failed], src=0)

    def _told(self) -> bool:
        answer = [False]
        torch.distributed.broadcast_object_list(answer, src=0)
        return answer[0]


def _take_all_cores() -> None:
    """``accelerate launch`` allows a single process one thread, whether anybody asked for that or not."""
    try:
        launcher = psutil.Process().parent()
        words = launcher.cmdline() if launcher else []
        asked = "OMP_NUM_THREADS" in launcher.environ() if launcher else True
    except psutil.Error:  # not ours to look at
        return
    asked = asked or any(word.startswith("--num_cpu_threads_per_process") for word in words)
    launchers = {"launch", "accelerate-launch", "accelerate.commands.launch", "launch.py"}
    if not asked and launchers & {Path(word).name for word in words}:
        torch.set_num_threads(min(psutil.cpu_count(logical=False) or 1, cores.usable()))
