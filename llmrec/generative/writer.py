"""A language model that reads a prompt and writes a target: an encoder and a decoder, T5's (arXiv:1910.10683)."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmrec.generative.tree import Tree, answering, barring, distances

WORDS = 512
"""Words of a prompt that have a vector of their own; those behind share the last."""


class Writer(nn.Module):
    """T5 with whole-word embeddings: the pieces of one word share a vector that is added to theirs (P5).

    A piece that begins a word counts on; the end of the text has none.

    Args:
        model: encoder and decoder, as transformers has them.
        starts: by piece, whether a word begins with it.
        end: the piece that ends a text.
        padding: the piece that fills up.
    """

    PATHS = 64
    """Beginnings of names in one sequence of the decoder: each looks at all places of it."""
    starts: Tensor
    pretrained: bool = False
    """Whether all of its weights were trained before; the optimizer asks."""
    own_learning_rate: float
    own_weight_decay: float
    """Where additions learn in the place of the language model; the optimizer asks."""

    def __init__(self, model: Any, starts: list[bool], end: int, padding: int) -> None:
        from transformers import GenerationConfig

        super().__init__()
        self.model, self.end, self.padding = model, end, padding
        # Some models come with habits, such as never to write three pieces twice; names are written as they are.
        model.generation_config = GenerationConfig(
            decoder_start_token_id=model.config.decoder_start_token_id, eos_token_id=end, pad_token_id=padding
        )
        self.words = nn.Embedding(WORDS, model.config.d_model, padding_idx=0)
        nn.init.normal_(self.words.weight[1:], std=model.config.initializer_factor)
        self.register_buffer("starts", torch.tensor(starts), persistent=False)

    @property
    def start(self) -> int:
        """The piece that the decoder begins with."""
        start: int = self.model.config.decoder_start_token_id
        return start

    @property
    def device(self) -> torch.device:
        """Where inputs belong."""
        return self.words.weight.device

    def word_numbers(self, ids: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
        """Which word of its text each piece is of, from 1; 0 for the end and the padding."""
        numbers = self.starts[ids].cumsum(dim=1).clamp(1, WORDS - 1)
        return numbers * (ids != self.end) * (ids != self.padding)

    def read(self, ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq dim"]:
        """Hidden states of the encoder."""
        hidden: Tensor = self._encoded(ids)[0]
        return hidden

    def search(
        self,
        ids: Int[Tensor, "batch seq"],
        allowed: Callable[[list[int]], list[int]] | None = None,
        **options: Any,
    ) -> Any:
        """Lets transformers write a target for each input.

        Args:
            ids: pieces of the inputs, padded.
            allowed: what may follow the pieces written so far; None: anything.
            options: of ``generate``.

        Returns:
            What ``generate`` gives; its sequences begin with the start.
        """
        return self.model.generate(
            encoder_outputs=self._encoded(ids),
            attention_mask=self.mask(ids).long(),
            return_dict_in_generate=True,
            **({} if allowed is None else {"prefix_allowed_tokens_fn": lambda _, said: allowed(said[1:].tolist())}),
            **options,
        )

    def _encoded(self, ids: Int[Tensor, "batch seq"]) -> Any:
        vectors = self.model.get_input_embeddings()(ids) + self.words(self.word_numbers(ids))
        return self.model.get_encoder()(inputs_embeds=vectors, attention_mask=self.mask(ids))

    def mask(self, ids: Int[Tensor, "batch seq"]) -> Bool[Tensor, "batch seq"]:
        """What is no padding."""
        return ids != self.padding

    def logits(
        self,
        hidden: Float[Tensor, "batch seq dim"],
        mask: Bool[Tensor, "batch seq"],
        written: Int[Tensor, "batch length"],
    ) -> Float[Tensor, "batch length pieces"]:
        """What the decoder says behind each place of what is written, the start included."""
        output: Tensor = self.model(
            encoder_outputs=(hidden,), attention_mask=mask, decoder_input_ids=written, use_cache=False
        ).logits
        return output

    def beginnings(
        self,
        hidden: Float[Tensor, "batch seq dim"],
        mask: Bool[Tensor, "batch seq"],
        paths: Int[Tensor, "paths length"],
        asked: Bool[Tensor, "paths length"],
    ) -> tuple[Float[Tensor, "batch places pieces"], Int[Tensor, "paths length"]]:
        """What the decoder says behind some places of several beginnings of a target, and which of it belongs where.

        They stand in one sequence as a tree: what several of them begin with is read once, and each piece sees those
        that it comes after (tree attention, arXiv:2305.09781).
        """
        tree = Tree.of(paths, asked)
        with distances(self.model.get_decoder(), tree.depth), answering(self.model, tree.asked):
            logits: Tensor = self.model(
                encoder_outputs=(hidden,),
                attention_mask=mask,
                decoder_input_ids=tree.pieces.expand(len(hidden), -1),
                decoder_attention_mask=barring(tree.seen, hidden.dtype).expand(len(hidden), 1, -1, -1),
                use_cache=False,
            ).logits
        return logits, tree.told

    def forward(self, ids: Int[Tensor, "batch seq"], target: Int[Tensor, "batch length"]) -> Float[Tensor, " batch"]:
        """Cross-entropy of each target, in nats per piece, the end included.

        Args:
            ids: pieces of the inputs, padded.
            target: those of the targets, with their ends, padded.
        """
        written = F.pad(target[:, :-1], (1, 0), value=self.start)
        logits = self.logits(self.read(ids), self.mask(ids), written)
        losses = F.cross_entropy(logits.flatten(0, 1).float(), target.flatten(), reduction="none").view_as(target)
        counted = self.mask(target)
        return (losses * counted).sum(dim=1) / counted.sum(dim=1).clamp_min(1)
