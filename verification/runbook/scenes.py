"""The sections of the runbook: those that a script plays, and the others with a reason.

Each script makes the fault of its sections, runs their commands, and fixes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from verification.runbook import delivery_scenes, group_scenes, kafka_scenes, process_scenes
from verification.runbook.scene import Scene

Script = Callable[[Scene], Awaitable[None]]

NOT_PLAYED: Mapping[str, str] = {
    "Accounting imbalance": "it would be a bug; no setting makes it",
}

SCENES: Mapping[Script, tuple[str, ...]] = {
    delivery_scenes.application_held: ("Application held",),
    delivery_scenes.outage: ("Not delivering", "Events expire soon", "Loss forecast"),
    delivery_scenes.clock_doubted: ("Clock doubted",),
    delivery_scenes.dead_letters: ("Dead letters", "Events from the future"),
    delivery_scenes.without_key: ("Records without key",),
    delivery_scenes.parked_not_shrinking: ("Parked not shrinking",),
    kafka_scenes.offsets_skipped: ("Offsets skipped",),
    kafka_scenes.log_truncated: ("Log truncated",),
    kafka_scenes.topic_unwritable: ("Topic unwritable",),
    kafka_scenes.partitions_unreadable: ("Partitions unreadable",),
    kafka_scenes.consumer_rebuilt: ("Consumer rebuilt",),
    group_scenes.not_ready: ("Not ready",),
    group_scenes.partitions_without_member: ("Partitions without member",),
    group_scenes.rebalance_storm: ("Rebalance storm",),
    process_scenes.absent: ("Absent",),
    process_scenes.crash_loop: ("Crash loop",),
    process_scenes.memory_near_limit: ("Memory near limit",),
    process_scenes.key_file_unusable: ("Key file unusable",),
}
