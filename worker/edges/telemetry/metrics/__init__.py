"""The metrics: one table of definitions, and what renders it for a scrape and for the docs."""
