"""Which events have been seen, and what that means for one that comes again."""
