"""Learning to learn: first-order MAML of networks, of linear networks in function space, and of kernels."""
