"""A network as hardware: FINN's graph of it, what it costs, and the best folding on a board."""
