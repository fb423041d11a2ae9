"""Histories -> user vectors.

A head takes ``embedding_dim`` and ``max_seq_len`` from the program and its options as keyword-only arguments. Called
with the item vectors of a left-padded history and the mask of its real positions, it returns one user vector for every
position, which may depend on that position and earlier ones only.

A head with a table of the training log's users says ``by_user = True``: it takes their number as third argument,
and is called with the index of each history's user besides.

A head whose last user vector alone is trained, on several items that follow, has their number as ``future``. What it
returns for other positions is not asked for and may depend on later ones.

A head whose vectors depend on later positions too says ``bidirectional = True`` and has a ``cloze``
(:class:`llmrec.heads._cloze.Cloze`): training hides items and asks for them, and recommending asks for a hidden item
behind the history, so such a head takes one position more than ``max_seq_len``.
"""
