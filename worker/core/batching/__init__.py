"""From rows to the bodies of requests."""
