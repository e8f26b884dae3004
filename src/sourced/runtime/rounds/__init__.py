"""One round, step by step; `round.py` tells the whole of it in a dozen lines."""
