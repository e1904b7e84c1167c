"""Kronecker (tensor, 2-simplicial) attention: exact of any order, polynomial, sharded, and as a layer."""
