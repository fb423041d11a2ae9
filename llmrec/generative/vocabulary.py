"""The pieces that texts are made of: SentencePiece's, trained on a run's own prompts."""

import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from llmrec.errors import ConfigError, RunError
from llmrec.item_ids import ItemIds

_CUT = "\u241f"
"""Stands where no piece may reach across; a symbol for a separator that no text has."""
_ID = re.compile(r"(?<=[^\W\d]_)(?:\d+|(?=[^\W\d_]))")
"""Behind the line of ``item_`` and ``user_``: a number, or the place where another id begins."""
_DIGITS = (*map(str, range(10)), *(f"{pair:02}" for pair in range(100)))
"""Every id is made of them, however rare it is."""
_SPECIAL = 3
"""Padding, end and unknown come first."""


def train_vocabulary(texts: Iterable[str], size: int) -> Any:
    """A tokenizer of T5's kind over pieces that occur in texts.

    The pieces are those of SentencePiece's byte-pair encoding (arXiv:1808.06226); a text is cut into as few of them as
    possible. No piece reaches from an ``item_`` into the id, and numbers are cut into pairs of digits, so every id has
    several pieces: were one frequent item a piece of its own, it would be known by a token, not by a text. The trainer
    by likelihood counts each distinct word once, and in prompts the few words of the templates are everything.

    Args:
        texts: rendered prompts of the training part, and all names that may be written.
        size: the most pieces.

    Raises:
        ConfigError: too few pieces for the letters of the texts.
    """
    import sentencepiece
    from transformers import T5Tokenizer

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=map(_cut, texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            hard_vocab_limit=False,
            pretokenization_delimiter=_CUT,
            split_by_unicode_script=False,
            normalization_rule_name="identity",
            character_coverage=1.0,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            num_threads=1,
            max_sentence_length=1 << 20,  # longer ones are left out
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ConfigError(f"p5.vocabulary={size} is too small for these texts: {error}") from None
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    learned = [trained.id_to_piece(number) for number in range(trained.get_piece_size())]
    pieces = list(dict.fromkeys([*learned, *_DIGITS]))
    # Every piece costs the same, so the fewest win; of as few those that were merged first.
    scores = [0.0 if n < _SPECIAL else -1.0 - n / (1000 * len(pieces)) for n in range(len(pieces))]
    return T5Tokenizer(vocab=list(zip(pieces, scores, strict=True)), extra_ids=0)


def keep_whole(tokenizer: Any, ids: ItemIds) -> None:
    """Adds the pieces that the names of items are made of, where their kind has some."""
    if ids.tokens:
        tokenizer.add_tokens(list(ids.tokens))


def unwritten(tokenizer: Any, texts: Sequence[str]) -> list[str]:
    """Those of some texts with letters that no piece has: what is read in their place is the same for all."""
    cut = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    return [text for text, ids in zip(texts, cut, strict=True) if tokenizer.unk_token_id in ids]


def require_pieces(tokenizer: Any, ids: ItemIds) -> None:
    """Checks that a tokenizer which was there before the items keeps the pieces of their names whole.

    Raises:
        RunError: it has not all of them.
    """
    known = tokenizer.get_vocab()
    if new := [piece for piece in ids.tokens if piece not in known]:
        raise RunError(
            f"training.init_from: the names of these items have {len(new)} pieces that the run has not, such as "
            f"{new[0]}; take item_ids whose names are text: title, random or sequential"
        )


def pieces_of(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Pieces of each text, with the end; a title such as ``A </s> B`` neither ends nor pads it."""
    encoded = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    end, padding = tokenizer.eos_token_id, tokenizer.pad_token_id
    return [[*(piece for piece in ids if piece not in (end, padding)), end] for ids in encoded]


def word_starts(tokenizer: Any) -> list[bool]:
    """By piece, whether a new word begins with it."""
    names = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    return [name.startswith("\u2581") for name in names]


def _cut(text: str) -> str:
    """Separates ids from their ``item_``, and the digits of one, two by two from their end, from each other."""
    return _ID.sub(_pairs, text)


def _pairs(number: re.Match[str]) -> str:
    digits = number[0]
    ends = range(len(digits) % 2 or 2, len(digits) + 1, 2)
    return _CUT + _CUT.join(digits[max(0, end - 2) : end] for end in ends) + _CUT
