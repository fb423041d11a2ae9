"""Items -> vectors.

An encoder is a module; called without arguments it returns the vectors of all items by index,
``[num_items + 1, embedding_dim]``, with zeros for the padding in row 0. Called with item indices it returns theirs
alone, in that order: a loss that compares the items of a batch need not encode the catalogue.
"""
