"""Run by torchrun: three steps of full tuning on tiny OPT, its weights spread over the processes; prints the losses.

Without torchrun it takes the same steps in one process.
"""

import sys

import torch
from torch.distributed.fsdp import fully_shard

from llmrec import components, loading
from llmrec.loading.blocks import block_list
from llmrec.tuning import TextSource

TEXTS = ["", "Toy Story", "Heat", "Who are you?", "Joe Biden is the president of", "Alien", "Aliens (12)"]


def load(how: loading.Loading) -> loading.LanguageModel:
    return loading.load(loading.find(sys.argv[1]), "fp32", how)


several = torch.distributed.is_torchelastic_launched()
if several:
    torch.distributed.init_process_group("gloo")
rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if several else (0, 1)
tuning = components.create("tuning", components.resolve("tuning", {"name": "full"}))
trunk = tuning.trunk(TextSource(list, TEXTS, load, "resident", "mean", "fp32", 30))
if several:
    mesh = torch.distributed.init_device_mesh("cpu", (world,))
    for block in block_list(trunk.encoder)[1]:
        fully_shard(block, mesh=mesh)
    fully_shard(trunk.encoder, mesh=mesh)
    held = sum(weight.to_local().numel() for weight in trunk.encoder.parameters())
    print("share", held / sum(weight.numel() for weight in trunk.encoder.parameters()), flush=True)
optimizer = torch.optim.SGD(trunk.parameters(), 0.1, weight_decay=0.1)
items = torch.arange(1, len(TEXTS))
wanted = torch.randn(len(TEXTS), 16, generator=torch.Generator().manual_seed(0))
for _ in range(3):
    mine = items[rank::world]
    # FSDP takes the mean over processes, so each brings its part of the whole mean as often as there are processes.
    loss = (trunk(mine) - wanted[mine]).square().sum() * world / (len(items) * wanted.shape[1])
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    total = loss.detach() / world
    if several:
        torch.distributed.all_reduce(total)
    if rank == 0:
        print("loss", float(total), flush=True)
if several:
    torch.distributed.destroy_process_group()
