"""A language model larger than the memory: one block at a time, all texts pass it before the next is read."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from llmrec.errors import DataError, MemoryLimitError, RunError
from llmrec.loading.blocks import StandIns, block_list
from llmrec.loading.products import quick_products
from llmrec.loading.skeleton import encoder_of
from llmrec.loading.weights import Shards
from llmrec.runs import read_json, write_json

Batch = dict[str, Tensor]
_PROGRESS = "progress.json"


class Streamed:
    """Runs a model block by block; two blocks are in memory at a time, the one in use and the next, and nothing else.

    Hidden states lie in two files that take turns, so that a run that was cut off goes on behind the last block that
    all texts have passed.

    Args:
        model: as ``AutoModel`` makes it, its weights on no device, its buffers on the CPU.
        shards: the files with its weights.
        dtype: of weights and hidden states.
        revision: of the weights; hidden states are found again by it.
        workspace: where the hidden states lie.

    Raises:
        DataError: a weight that is missing, of whole numbers or of another shape.
    """

    def __init__(self, model: Any, shards: Shards, dtype: torch.dtype, revision: str, workspace: Path) -> None:
        self.dtype, self.revision, self.workspace = dtype, revision, workspace
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.shards = shards
        model.eval().requires_grad_(False)
        model.config.use_cache = False
        encoder = encoder_of(model)
        if hasattr(encoder, "pooler"):
            encoder.pooler = None  # nothing here uses it, and a checkpoint may lack it
        self.encoder = encoder
        self.name, self._list = block_list(encoder)
        self.blocks = list(self._list)
        inside = "encoder." if encoder is not model else ""
        self._names = {name: inside + name for name in encoder.state_dict()}
        self.shards.require(self._names.values(), model)
        self.standing = StandIns(self._list)

    @torch.no_grad()
    def last_hidden_states(self, batches: list[Batch], progress: Callable[[int, int], None]) -> Iterator[Tensor]:
        """Hidden states behind the last block, batch by batch.

        Args:
            batches: padded tokens and their attention masks.
            progress: called with blocks passed and blocks in all.

        Raises:
            MemoryLimitError: not enough room on the disk for the hidden states.
            DataError: hidden states that are not finite, naming the text and the block.
        """
        states = self._states(batches, self.revision)
        self._pass_blocks(batches, states, len(self.blocks), progress)
        self._read_ends()
        for number, batch in enumerate(batches):
            self.standing.end_with(states.read(number).to(self.device))
            yield self._run(batch).cpu()
        self._let_ends_go()
        states.delete()

    @torch.no_grad()
    def entering(self, index: int, batches: list[Batch], progress: Callable[[int, int], None]) -> Iterator[Tensor]:
        """Hidden states that enter a block, from the second on, batch by batch; the same errors."""
        states = self._states(batches, f"{self.revision}, entering {index}")
        self._pass_blocks(batches, states, index, progress)
        for number in range(len(batches)):
            yield states.read(number)
        states.delete()

    def keep(self, number: int) -> None:
        """Reads the first block and the last so many, and puts the model together again; nothing streams after that."""
        for place, block in enumerate(self.blocks):
            self._list[place] = block
        self._read_ends()
        for index in range(len(self.blocks) - number, len(self.blocks)):
            self._load(self.blocks[index], self._read_block(index))

    def _states(self, batches: list[Batch], revision: str) -> "States":
        return States(self.workspace, batches, self.encoder.config.hidden_size, self.dtype, revision)

    def _pass_blocks(
        self, batches: list[Batch], states: "States", end: int, progress: Callable[[int, int], None]
    ) -> None:
        self.standing.end_with(None)
        self._read_ends()
        calls = []
        for number, batch in enumerate(batches):
            self._run(batch)
            calls.append(self.standing.calls())
            if not states.passed:
                states.write(number, self.standing.hidden)
        self._let_ends_go()
        if not states.passed:
            states.end_block()
        # Weights that come and go between activations would leave holes in the heap that nothing fits into.
        largest = max(Shards.room_for(block.parameters()) for block in self.blocks)
        rooms = [torch.empty(largest, dtype=self.dtype) for _ in range(2)]
        with ThreadPoolExecutor(1) as reader:
            begun = states.passed
            ahead = reader.submit(self._read_block, begun, rooms[begun % 2]) if begun < end else None
            for index in range(begun, end):
                assert ahead is not None
                block, weights = self.blocks[index], ahead.result()
                following = index + 1
                ahead = reader.submit(self._read_block, following, rooms[following % 2]) if following < end else None
                self._load(block, weights)
                del weights
                for number, batch in enumerate(batches):
                    with quick_products():
                        hidden = calls[number][index - 1].of(block, states.read(number).to(self.device))
                    _require_finite(hidden, batch, index)
                    states.write(number, hidden)
                _let_go(block)
                states.end_block()
                progress(index + 1, end)

    def _read_ends(self) -> None:
        """What stands before and behind the blocks, and the first of them."""
        self._load(self.encoder, self._read([name for name in self._names if not name.startswith(f"{self.name}.")]))
        self._load(self.blocks[0], self._read_block(0))

    def _let_ends_go(self) -> None:
        _let_go(self.encoder)
        _let_go(self.blocks[0])

    def _run(self, batch: Batch) -> Tensor:
        placed = {key: value.to(self.device) for key, value in batch.items()}
        with quick_products():
            output: Tensor = self.encoder(**placed).last_hidden_state
        return output

    def _read_block(self, index: int, room: Tensor | None = None) -> dict[str, Tensor]:
        start = f"{self.name}.{index}."
        weights = self._read([name for name in self._names if name.startswith(start)], room)
        return {name.removeprefix(start): weight for name, weight in weights.items()}

    def _read(self, names: list[str], room: Tensor | None = None) -> dict[str, Tensor]:
        read = self.shards.read([self._names[name] for name in names], self.dtype, room)
        return {name: read[self._names[name]] for name in names}

    def _load(self, module: nn.Module, weights: dict[str, Tensor]) -> None:
        module.load_state_dict(weights, assign=True, strict=False)  # that none is missing was seen to
        if self.device.type != "cpu":
            for name, parameter in module.named_parameters():
                if name in weights:
                    parameter.data = parameter.data.to(self.device)
            for name, buffer in module.named_buffers():
                *path, last = name.split(".")
                module.get_submodule(".".join(path))._buffers[last] = buffer.to(self.device)


def _let_go(module: nn.Module) -> None:
    """Frees a module's weights; not by ``module.to("meta")``, which would take the buffers along."""
    gone = {name: weight.to("meta") for name, weight in module.named_parameters(remove_duplicate=False)}
    module.load_state_dict(gone, assign=True, strict=False)


class States:
    """Hidden states of all batches in two files that take turns, block by block."""

    def __init__(self, workspace: Path, batches: list[Batch], width: int, dtype: torch.dtype, revision: str) -> None:
        shapes = [batch["input_ids"].shape for batch in batches]
        self.width, self._shapes = width, [(*shape, width) for shape in shapes]
        sizes = torch.tensor([0, *(shape.numel() * width for shape in shapes)])
        self._starts = sizes.cumsum(0).tolist()
        self.folder = workspace / _key(batches, revision, dtype)
        self._lock = _locked(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        progress = self.folder / _PROGRESS
        size, free = self._starts[-1] * dtype.itemsize, shutil.disk_usage(self.folder).free
        paths = [self.folder / f"{turn}.bin" for turn in (0, 1)]
        whole = all(path.is_file() and path.stat().st_size == size for path in paths)
        self.passed = int(read_json(progress)["blocks"]) if whole and progress.is_file() else 0
        """Blocks that all batches have passed."""
        needed = sum(size for path in paths if not path.exists())
        if needed > free:
            raise MemoryLimitError(
                f"the hidden states take {needed / 1e9:.1f} GB and {self.folder} has {free / 1e9:.1f} GB free; set "
                "LLMREC_CACHE to a folder with more room, or features.max_tokens to fewer tokens"
            )
        self._paths = paths
        self._files = [torch.from_file(str(path), shared=True, size=self._starts[-1], dtype=dtype) for path in paths]

    def read(self, number: int) -> Tensor:
        """A copy of a batch's hidden states behind the last block that is passed."""
        return self._part(self.passed, number).clone()

    def write(self, number: int, hidden: Tensor) -> None:
        """Puts down a batch's hidden states behind the next block."""
        self._part(self.passed + 1, number).copy_(hidden)

    def end_block(self) -> None:
        """All batches have passed one more block; what is written is on the disk before that is said."""
        descriptor = os.open(self._paths[(self.passed + 1) % 2], os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        self.passed += 1
        write_json(self.folder / _PROGRESS, {"blocks": self.passed})

    def delete(self) -> None:
        """Removes the files and lets others use the place."""
        shutil.rmtree(self.folder)
        self._lock.unlink()

    def _part(self, blocks: int, number: int) -> Tensor:
        return self._files[blocks % 2][self._starts[number] : self._starts[number + 1]].view(self._shapes[number])


def _locked(folder: Path) -> Path:
    """Marks a folder of states as this process's, so that two runs over the same texts do not write into one another.

    Raises:
        RunError: another process that lives has it.
    """
    lock = folder.with_suffix(".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        owner = int(lock.read_text(encoding="ascii") or 0)
        if owner != os.getpid() and psutil.pid_exists(owner):
            raise RunError(
                f"process {owner} streams the same texts through the same model; run again when it has ended, and "
                "the vectors are there"
            ) from None
        lock.unlink()
        return _locked(folder)
    os.write(descriptor, str(os.getpid()).encode())
    os.close(descriptor)
    return lock


def _key(batches: list[Batch], revision: str, dtype: torch.dtype) -> str:
    digest = hashlib.sha256(f"{revision} {dtype}".encode())
    for batch in batches:
        for name, tensor in sorted(batch.items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _require_finite(hidden: Tensor, batch: Batch, block: int) -> None:
    own = batch["attention_mask"].bool().to(hidden.device)
    if not (finite := torch.isfinite(hidden).all(dim=-1) | ~own).all():
        row = int((~finite).any(dim=1).nonzero()[0])
        raise NotFinite(batch["input_ids"][row][batch["attention_mask"][row].bool()].tolist(), block)


class NotFinite(DataError):
    """Hidden states that are not finite."""

    def __init__(self, tokens: list[int], block: int) -> None:
        super().__init__(f"block {block} gives a value that is not finite for the tokens {tokens}")
        self.tokens, self.block = tokens, block
