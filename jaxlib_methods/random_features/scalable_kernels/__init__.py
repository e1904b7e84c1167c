"""Scalable neural network kernels: dense layers whose input and parameters meet only in a dot product."""
