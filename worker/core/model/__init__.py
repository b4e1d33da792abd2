"""Frozen nouns that travel between the rooms, the pipeline and the edges."""
