"""The frozen values that rooms, pipeline and edges exchange."""
