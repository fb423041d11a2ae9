"""Items whose texts share rare words with what was seen last."""

import torch
from torch import Tensor

from llmrec.baselines import Known, Needs, decayed, require_recency
from llmrec.sequences import Sequences


class Tfidf:
    """Cosine of TF-IDF vectors of item text, summed over the recent history with geometric decay.

    On published candidate lists this alone reaches what prompted GPT-3.5 was printed with, so no claim about text
    should be made without it.

    Args:
        decay: weight of an item relative to the one seen after it.
        last: how many recent items count.
    """

    needs: Needs = "texts"

    def __init__(self, *, decay: float = 0.8, last: int = 20) -> None:
        require_recency(decay, last)
        self.decay, self.last = decay, last

    def fit(self, known: Known) -> "Tfidf":
        """Weighs the words of the catalogue; the padding is no document."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        assert known.texts is not None
        weigh = TfidfVectorizer().fit(known.texts[1:])
        self.vectors = weigh.transform(known.texts)
        return self

    def score(self, histories: Sequences) -> Tensor:
        """Weighted sums of cosines."""
        bags = decayed(histories, self.vectors.shape[0] - 1, self.decay, self.last)
        return torch.from_numpy(((bags @ self.vectors) @ self.vectors.T).toarray()).float()
