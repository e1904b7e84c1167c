"""Deep networks at large but finite width: critical initialization, corrections of order 1/n, learning rates, depth."""
