"""What the worker would make of a record now: its own intake, under the configuration at hand."""

from __future__ import annotations

from worker.core.model.clock import Now
from worker.core.model.fault import Rejection
from worker.core.model.record import NO_EPOCH, Assignment, Record
from worker.core.model.row import Row
from worker.core.route import Route
from worker.daemon.assembly import route_parts
from worker.settings.routing import ResolvedRoute
from worker.settings.schema import Settings
from worker.tools.dead_letters.topics import named_applications


class DryRun:
    """The intakes of all routes."""

    def __init__(self, settings: Settings) -> None:
        self.routes: dict[str, ResolvedRoute] = {
            route.topic: route for route in settings.resolved_routes()
        }
        self.applications = named_applications(settings)
        self._parts: dict[str, Route] = {
            topic: route_parts(settings, route) for topic, route in self.routes.items()
        }

    def parts(self, topic: str) -> Route:
        """The intake, window and batcher of a topic that has a route."""
        return self._parts[topic]

    def judge(self, topic: str, partition: int, record: Record, now: Now) -> Row | Rejection:
        """The record's row, or why it has none. `topic` must have a route."""
        rows, rejections = self._parts[topic].intake.read(
            Assignment(topic, partition, NO_EPOCH), (record,), now
        )
        return rows[0] if rows else rejections[0]
