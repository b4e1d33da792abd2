"""The world that the stories of the pipeline share."""

from __future__ import annotations

import pytest

from tests.unit.core.pipeline_world import World, world_with_two_partitions


@pytest.fixture
def world() -> World:
    """A worker to which two partitions of a topic are assigned."""
    return world_with_two_partitions()
