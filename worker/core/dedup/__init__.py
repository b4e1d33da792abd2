"""Which events have been seen, and what that means for an event that is received again."""
