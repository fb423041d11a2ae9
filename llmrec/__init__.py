"""llmrec: recommenders built on language models; trained, generative and prompted, in one engine.

``Recommender`` is loaded on first use, so that ``import llmrec`` stays free of torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrec.recommender import Recommender

__version__ = "0.1.0"
__all__ = ["Recommender", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Recommender":
        from llmrec.recommender import Recommender

        return Recommender
    raise AttributeError(f"module 'llmrec' has no attribute {name!r}")
