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

    `answer` is a status, `timeout` or `refused`.
    """

    begin: float
    end: float
    answer: str
    application_id: int | None = None


LIVENESS_SECONDS = 300.0
POISON_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A history. Times are in virtual seconds, shares per request, that of poison per event.

    Poison is events that make the API fail. It and `seconds_per_row` last after all other faults
    have ended. The brokers move at `move_seconds`; None: never. `users`: the number of records of
    ordered profiles.
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
    def liveness_seconds(self) -> float:
        """Within this time after all faults, everything has to be settled.

        A row that gets no answer takes a time-out for each try, and the more rows make the API
        fail, the more tries each takes.
        """
        return LIVENESS_SECONDS + POISON_SECONDS * self.poison_share * self.records

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
# An outage reaches the small bound. The settings don't allow so little, so the gauge is replaced.
MEMORY_BYTES_SMALL, MEMORY_BYTES_LARGE = 120_000, 16_777_216
# One history of this many has a topic of profiles without an order.
PROFILES_EVERY = 3
# The share of histories that have profiles, an ordered resource, and the most records of them.
USERS_SHARE, USERS_MAX = 0.5, 600
# The share of wild histories in which the brokers move to other addresses.
MOVES_SHARE = 0.2
DEDUP_ROWS_SMALL, DEDUP_ROWS_LARGE = 160, 1_000_000
ANSWERS = ("503", "503", "504", "429", "timeout", "refused", "403", "404", "302", "201", "400")
# Seconds per row, and records in the history. With 0.4 s full batches of 20 rows run out of time,
# with 6 s even single rows.
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
        # Sometimes so little that not all settled ranges of the short span find room.
        commit_metadata_bytes_max=chance.choice((4096, 48)),
        move_seconds=_move(seed, seconds) if mood is Mood.WILD else None,
        # Sometimes so little that windows take room from each other. Then keys are forgotten, and
        # duplicates are not checked.
        dedup_rows_max=DEDUP_ROWS_LARGE
        if is_calm
        else chance.choices((DEDUP_ROWS_LARGE, DEDUP_ROWS_SMALL), (5, 1))[0],
        users=0 if seconds_per_row else _users(seed),
    )


def _users(seed: int) -> int:
    # From a generator of its own, as below.
    chance = Random(seed + 6)
    return chance.randint(100, USERS_MAX) if chance.random() < USERS_SHARE else 0


def _move(seed: int, seconds: float) -> float | None:
    # From a generator of its own: the other draws of a seed don't depend on it.
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
