"""The tasks of a zero-shot study, and the model that is asked where none is named."""

import argparse
from dataclasses import dataclass

from llmrec.errors import ConfigError


@dataclass(frozen=True)
class Task:
    """What is asked: among how many candidates, how many names, by which prompt, and what is measured."""

    candidates: int
    wanted: int
    prompt: str
    shown: tuple[str, ...]
    says: str


TASKS = {
    "hr@1": Task(4, 1, "zeroshot/pick_one", ("HR@1", "MRR@10"), "the target among 3 others, one is to be picked"),
    "hr@10": Task(100, 10, "zeroshot/top_ten", ("HR@10", "nDCG@10"), "the target among 99 others, the ten best"),
    "ndcg@10": Task(20, 20, "zeroshot/rank", ("nDCG@10", "nDCG@1"), "the target among 19 others, all in order"),
    "rerank": Task(20, 20, "zeroshot/rank", ("nDCG@10", "HR@10"), "what --candidates-from names, all in order"),
}
DEFAULTS = {"transformers": "smollm2-135m", "vllm": "HuggingFaceTB/SmolLM2-135M-Instruct", "scripted": "script"}
"""Models of the backends; a server's has to be named."""


def model_of(arguments: argparse.Namespace) -> str:
    """The prompted model's name.

    Raises:
        ConfigError: a server's model that is not named.
    """
    if arguments.model:
        return str(arguments.model)
    if arguments.backend not in DEFAULTS:
        raise ConfigError(f"--backend {arguments.backend} needs --model, as the server calls it")
    return DEFAULTS[arguments.backend]
