"""Log lines about records, delivery and partitions: the logger `worker.pipeline`."""

from __future__ import annotations

from worker.edges.telemetry.log_events.definition import LogEvent, error, info, warning

# Of a line that follows from the answer to the request of a batch.
_BATCH = ("batch_id", "producer_trace_id", "trace_id")

PIPELINE = (
    info("partitions_assigned", "The group has assigned partitions.", "", ("partitions",)),
    info("partitions_revoked", "The group takes partitions away.", "", ("partitions",)),
    warning(
        "partitions_lost",
        "Partitions have another owner already, or the consumer was replaced: nothing is committed "
        "for them here. Records that were sent and not committed are sent again.",
        "If it repeats: see docs/runbook.md#rebalance-storm.",
        ("partitions",),
    ),
    error(
        "offsets_skipped",
        "The brokers had deleted records before they were read: they are lost.",
        "Increase the retention of the topic.",
        ("partition", "offsets"),
    ),
    error(
        "log_truncated",
        "The brokers have lost the end of a partition with records that were read.",
        "See docs/troubleshooting.md#a-log-was-truncated. Keep "
        "unclean.leader.election.enable=false.",
        ("partition", "position", "resumed_at", "may_pass_over_records"),
    ),
    warning(
        "commit_failed",
        "A commit was refused or not answered in time. The positions are committed again.",
        "If it repeats: check the brokers and the rights of the group.",
        ("detail", "partitions"),
    ),
    warning(
        "commit_metadata_limited",
        "The brokers take less commit metadata, so partitions are read less far ahead.",
        "Raise offset.metadata.max.bytes of the brokers to 4096.",
        ("characters",),
    ),
    warning(
        "records_without_key",
        "Records have no usable key although the configuration names its place. One line a minute "
        "for each topic.",
        "Fix the producer or the setting; see docs/events.md.",
        ("topic", "records", "*_total"),
    ),
    error(
        "dead_letters_failed",
        "Dead letters can't be written. Reception is paused, and writing is retried.",
        "Create the dead-letter topic or grant WRITE.",
        ("records", "detail"),
    ),
    error(
        "parking_failed",
        "Records can't be parked. Reception is paused, and writing is retried.",
        "Create the parking topic or grant WRITE.",
        ("records", "detail"),
    ),
    error(
        "application_held",
        "The API refuses an application for a reason that is not in its rows. Its rows wait, and a "
        "probe is sent from time to time.",
        "http_401 or http_403: fix the key. Other reasons: see "
        "docs/troubleshooting.md#an-application-is-on-hold.",
        ("application_id", "reason", *_BATCH),
    ),
    info(
        "application_healed",
        "The API accepts the application again. Its rows follow.",
        "",
        ("application_id", *_BATCH),
    ),
    warning(
        "throttling_began",
        "The API throttles an application. Its rows wait as long as the API requests.",
        "If it repeats: send larger batches, or lower delivery.requests_per_second_max.",
        ("application_id", "reason", "pause_seconds", *_BATCH),
    ),
    info("throttling_ended", "The throttling has ended.", "", ("application_id", *_BATCH)),
    error(
        "breaker_opened",
        "The API fails. Nothing is sent but one probe from time to time.",
        "Wait, or check network and proxy. Keep the retention of the topic longer than the outage.",
        ("reason", *_BATCH),
    ),
    info("breaker_closed", "The API works again.", "", _BATCH),
    warning(
        "batch_suspected",
        "A batch fails while others of its application are accepted. It is halved until the rows "
        "that fail are found.",
        "Look at the dead letters with the reason fails_alone, if there are any.",
        ("application_id", "resource", "rows", *_BATCH),
    ),
    warning(
        "request_size_reduced",
        "The API is too slow for full batches. Requests have fewer rows, or more time.",
        "If it repeats: lower batching.rows_max or raise appmetrica.read_timeout_seconds.",
        ("application_id", "resource", "rows_max", "time_factor", *_BATCH),
    ),
    info(
        "request_size_restored",
        "Requests have their ordinary size and time again.",
        "",
        ("application_id", "resource", *_BATCH),
    ),
    error(
        "clock_doubted",
        "The local clock and the API's differ too much. Nothing is received.",
        "Set the clock of the node (NTP).",
        ("witness", "seconds_ahead"),
    ),
    warning(
        "clock_has_no_witness",
        "The API's answers have no date. Ages are checked with the local clock only.",
        "Check what answers in place of the API.",
    ),
    info(
        "clock_vouched",
        "The local clock agrees with its witness, and is trusted.",
        "",
        ("witness", "seconds_ahead"),
    ),
    LogEvent(
        "pipeline_event",
        ("debug",),
        "An event was handled, or a command is carried out: a chunk, a request, an answer, a "
        "commit. Numbers and names only, no payload and no key.",
        "",
        (
            "kind",
            "application_id",
            "batch_id",
            "bytes",
            "code",
            "detail",
            "fault",
            "next_offset",
            "offsets",
            "partition",
            "partitions",
            "position",
            "records",
            "resource",
            "resumed_at",
            "rows",
            "seconds",
            "status",
            "uncommitted_records",
            "unsettled_records",
        ),
    ),
)
