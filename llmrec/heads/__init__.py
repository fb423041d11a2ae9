"""Histories -> user vectors.

A head takes ``embedding_dim`` and ``max_seq_len`` from the program and its options as keyword-only arguments. Called
with the item vectors of a left-padded history and the mask of its real positions, it returns one user vector for every
position, which may depend on that position and earlier ones only.

A head with a table of the training log's users says ``by_user = True``: it takes their number as third argument,
and is called with the index of each history's user besides.
"""
