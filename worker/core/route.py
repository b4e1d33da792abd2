"""A route, and the components that all routes share: what the pipeline moves records between."""

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

    SOURCE: they wait where they are while their application is on hold. SOURCE_WITH_PARKING: where
    they stop others, they go to a parking topic. PARKING: the topic is such a parking topic, and
    its records wait there.
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
