"""Recommending as writing: a prompt goes into a language model, an item's name comes out, as in P5 (arXiv:2203.13366).

``examples`` draws and writes prompts with their targets, ``vocabulary`` cuts texts into pieces, ``batches`` puts
examples of like length together, ``writer`` is the language model, ``origins`` where its weights come from, ``trie``
knows which pieces may follow, and ``recommender`` scores and names items.
"""
