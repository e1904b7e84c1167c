"""Random-feature attention: frozen random heads, trained values, the kernel of infinitely many heads, and its norms."""
