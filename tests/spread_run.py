"""Launched in place of llmrec/train.py: what accelerate does under FSDP, which it offers to GPUs alone, over gloo."""

import sys
from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from llmrec import tokens, train

tokens.BATCH_TOKENS = 24
"""So that the processes run the model unequally often."""
begin = AcceleratorState.__init__


def begin_on_cpu(self: Any, *args: Any, fsdp_plugin: Any = None, **more: Any) -> None:
    begin(self, *args, fsdp_plugin=fsdp_plugin, **more)
    if fsdp_plugin is not None:
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin


AcceleratorState.__init__ = begin_on_cpu  # type: ignore[method-assign]
sys.exit(train.main())
