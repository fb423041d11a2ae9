"""Which parameters of the language model learn.

``trunk(features)`` takes a function that returns the pooled text vectors of all items (computed or read on first use)
and returns the module that gives them to the encoder at each step: those of the items it is called with, or all.
"""
