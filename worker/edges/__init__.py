"""Where the worker meets the world: the only files that await."""
