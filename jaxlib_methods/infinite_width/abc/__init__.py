"""Scalings of initialisation, multipliers and learning rates with width, and what they make of a wide network."""
