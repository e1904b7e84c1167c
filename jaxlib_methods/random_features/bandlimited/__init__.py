"""Shallow networks with band-limited random weights: what they can represent, at which cost, and how to train them."""
