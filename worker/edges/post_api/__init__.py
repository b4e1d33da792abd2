"""Connections and requests to the Post API."""
