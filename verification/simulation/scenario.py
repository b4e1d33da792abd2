"""The events of a history, drawn from its seed before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from random import Random

from verification.simulation.kafka_faults import Chances


class Mood(Enum):
    """How much may go wrong.

    CALM: only joins and stops, a healthy API, and connections that die where nothing is committed,
    so nothing may come twice. STEADY: the brokers work, but workers are killed and the API has its
    faults, so the allowed duplicates can be counted. WILD: everything.
    """

    CALM = auto()
    STEADY = auto()
    WILD = auto()


@dataclass(frozen=True, slots=True)
class Moment:
    """A fault at a time, of a worker or of the brokers."""

    seconds: float
    what: str
    worker: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """A failure of the API between two times, for one application or for all.

    With a status, or with `timeout` or `refused`.
    """

    begin: float
    end: float
    answer: str
    application_id: int | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A history. Times in virtual seconds; `share` chances per request, that of poison per event.

    `seconds_per_row` and poison, events that make the API fail, outlast all other faults. The
    brokers move at `move_seconds`, if at all. `users`: records of ordered profiles.
    """

    seed: int
    workers: int
    partitions: int
    records: int
    seconds: float
    moments: tuple[Moment, ...]
    windows: tuple[Window, ...]
    chances: Chances
    ambiguous_share: float
    failure_share: float
    latency_seconds: tuple[float, float]
    seconds_per_row: float
    poison_share: float
    memory_bytes_max: int
    mood: Mood
    commit_metadata_bytes_max: int
    move_seconds: float | None
    dedup_rows_max: int
    users: int

    @property
    def has_profiles(self) -> bool:
        """True if this history has a topic of profiles without an order."""
        return self.seed % PROFILES_EVERY == 0


# What may happen in each mood.
MOMENTS = {
    Mood.CALM: ("stop", "rebalance", "replace", "silence"),
    Mood.STEADY: ("kill", "kill", "stop", "rebalance", "replace", "silence"),
    Mood.WILD: (
        "kill",
        "kill",
        "stop",
        "zombie",
        "rebalance",
        "expire",
        "brokers",
        "brokers",
        "hang",
        "scribble",
        "silence",
    ),
}
# The small one is met in an outage; the settings don't allow so little, so it is put in their
# place.
MEMORY_BYTES_SMALL, MEMORY_BYTES_LARGE = 120_000, 16_777_216
# One history of this many has a topic of profiles without an order.
PROFILES_EVERY = 3
# The share of histories that have profiles, an ordered resource, and the most records of them.
USERS_SHARE, USERS_MAX = 0.5, 600
# The share of wild histories in which the brokers move to other addresses.
MOVES_SHARE = 0.2
DEDUP_ROWS_SMALL, DEDUP_ROWS_LARGE = 160, 1_000_000
ANSWERS = ("503", "503", "504", "429", "timeout", "refused", "403", "404", "302", "201", "400")
# Full batches of 20 rows, and then not even single rows, are in time; such an API takes only so
# many records in a history.
SLOWNESS = ((0.0, None), (0.0, None), (0.0, None), (0.0, None), (0.0, None), (0.4, 400), (6.0, 40))


def draw(seed: int) -> Scenario:
    """The scenario of this seed."""
    chance = Random(seed)
    mood = chance.choices((Mood.CALM, Mood.STEADY, Mood.WILD), (1, 1, 4))[0]
    is_calm = mood is Mood.CALM
    seconds = chance.uniform(15, 30)
    workers = chance.randint(2, 3)
    moments = sorted(
        (
            Moment(
                chance.uniform(2, seconds), chance.choice(MOMENTS[mood]), chance.randrange(workers)
            )
            for _ in range(chance.randint(1, 4))
        ),
        key=lambda moment: moment.seconds,
    )
    seconds_per_row, records = (0.0, None) if is_calm else chance.choice(SLOWNESS)
    return Scenario(
        seed=seed,
        workers=workers,
        partitions=chance.randint(4, 8),
        records=records or chance.randint(1000, 2500),
        seconds=seconds,
        moments=tuple(moments),
        windows=() if is_calm else _windows(chance, seconds),
        chances=_chances(chance) if mood is Mood.WILD else Chances(),
        ambiguous_share=0.0 if is_calm else chance.choice((0.0, 0.02, 0.1)),
        failure_share=0.0 if is_calm else chance.choice((0.0, 0.05, 0.2)),
        latency_seconds=(
            0.005,
            chance.choice((0.05, 0.3, 1.0) if is_calm else (0.05, 0.3, 1.0, 9.0)),
        ),
        seconds_per_row=seconds_per_row,
        poison_share=0.0 if is_calm or seconds_per_row else chance.choice((0.0, 0.0, 0.003)),
        memory_bytes_max=chance.choice((MEMORY_BYTES_SMALL, MEMORY_BYTES_LARGE)),
        mood=mood,
        # Little, so that as short a span as a history has may not find room in runs.
        commit_metadata_bytes_max=chance.choice((4096, 48)),
        move_seconds=_move(seed, seconds) if mood is Mood.WILD else None,
        # Little, so that windows take room from each other: what is forgotten may come twice, which
        # is not looked at then.
        dedup_rows_max=DEDUP_ROWS_LARGE
        if is_calm
        else chance.choices((DEDUP_ROWS_LARGE, DEDUP_ROWS_SMALL), (5, 1))[0],
        users=0 if seconds_per_row else _users(seed),
    )


def _users(seed: int) -> int:
    # Of a chance of its own, as below.
    chance = Random(seed + 6)
    return chance.randint(100, USERS_MAX) if chance.random() < USERS_SHARE else 0


def _move(seed: int, seconds: float) -> float | None:
    # Of a chance of its own: what else a seed draws doesn't depend on it.
    chance = Random(seed + 5)
    return chance.uniform(2, seconds) if chance.random() < MOVES_SHARE else None


def _windows(chance: Random, seconds: float) -> tuple[Window, ...]:
    """Draw some of these faults, but only one that refuses everything.

    With two, a valid row might be refused alone twice, with others accepted in between.
    """
    windows = [_window(chance, seconds) for _ in range(chance.randint(0, 3))]
    refusing = [window for window in windows if window.answer == "400"]
    return tuple(window for window in windows if window not in refusing[1:])


def _window(chance: Random, seconds: float) -> Window:
    begin = chance.uniform(0, seconds)
    application_id = chance.choice((None, 1, 2))
    return Window(begin, begin + chance.uniform(1, 12), chance.choice(ANSWERS), application_id)


def _chances(chance: Random) -> Chances:
    return Chances(
        connection_lost=chance.choice((0.0, 0.001, 0.01)),
        commit_refused=chance.choice((0.0, 0.05, 0.2)),
        commit_answer_lost=chance.choice((0.0, 0.05)),
        commit_delayed=chance.choice((0.0, 0.1)),
        commit_delay_seconds_max=4.0,
        fetch_corrupted=chance.choice((0.0, 0.002, 0.01)),
    )
