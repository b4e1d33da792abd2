"""All that talks to the Post API."""
