"""The TODO application: lists that people share, as an example of a whole program. Read `lists.py` first."""
