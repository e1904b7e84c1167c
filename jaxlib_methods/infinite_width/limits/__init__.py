"""Infinitely wide networks that learn features, as finite programs."""
