"""A route, and the components that all routes share: the pipeline moves records between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from worker.core.batching.batcher import Batcher
from worker.core.dedup.window import Window
from worker.core.delivery.dispatcher import Dispatcher
from worker.core.intake.intake import Intake
from worker.core.progress.clock_check import ClockCheck
from worker.core.progress.ledger import Ledger


class RouteRole(Enum):
    """Whether a topic's records may be parked.

    SOURCE: while their application is on hold, records wait in memory and in the topic.
    SOURCE_WITH_PARKING: if they would stop other applications, they go to the parking topic.
    PARKING: the topic is a parking topic.
    """

    SOURCE = auto()
    SOURCE_WITH_PARKING = auto()
    PARKING = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """The components of one topic: its intake, its window of keys, its open batches."""

    intake: Intake
    window: Window
    batcher: Batcher
    role: RouteRole = RouteRole.SOURCE


@dataclass(frozen=True, slots=True)
class Components:
    """Everything that the pipeline moves records between: a route per topic, and what they share.

    Each component owns its state; the pipeline only calls them, in the order of a record's way.
    """

    routes: Mapping[str, Route]
    dispatcher: Dispatcher
    ledger: Ledger
    clock: ClockCheck
