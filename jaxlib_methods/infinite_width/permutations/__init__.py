"""Permutations learned from the basis vectors alone: closed forms of the trained network, ensembles that never err."""
