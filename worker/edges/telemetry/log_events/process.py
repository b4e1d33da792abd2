"""Log lines about the process, its keys, its log and its member of the Kafka group."""

from __future__ import annotations

from worker.edges.telemetry.log_events.definition import LogEvent, error, info, warning

PROCESS = (
    info("started", "The worker has started.", "", ("version", "fast_pass", "admin_port")),
    info(
        "stopping", "A signal has arrived, and the drain begins.", "", ("signal", "drain_seconds")
    ),
    info(
        "stopped",
        "The worker has stopped.",
        "Numbers above 0: nothing; these records are read again at the next start.",
        ("unsettled_records", "uncommitted_records"),
    ),
    warning(
        "close_timed_out",
        "A connection was not closed in time, and was left.",
        "Check the brokers.",
        ("part",),
    ),
    warning(
        "close_failed",
        "A connection could not be closed.",
        "Check the brokers.",
        ("part", "detail"),
    ),
    warning(
        "event_loop_blocked",
        "The event loop has been blocked for 5 s: no probe is answered, and no request is sent.",
        "Report it, with the next line, diagnostics_threads. Too little CPU: raise its limit.",
        ("seconds",),
    ),
    info(
        "diagnostics_threads",
        "Where each thread is in the code. Written at SIGQUIT, when the consumer is replaced, and "
        "when the event loop is blocked.",
        "See docs/operations.md#a-stuck-worker.",
        ("cause", "count", "threads"),
    ),
    info(
        "diagnostics_tasks",
        "Written with `diagnostics_threads`: where each task waits.",
        "",
        ("cause", "count", "tasks"),
    ),
    info(
        "diagnostics_events",
        "Written with `diagnostics_threads`: the last 200 events and commands of the pipeline, the "
        "oldest first.",
        "",
        ("cause", "count", "events"),
    ),
    info(
        "diagnostics_partitions",
        "Written with `diagnostics_threads`: the state of each partition, with the keys of "
        "/status.",
        "",
        ("cause", "count", "partitions"),
    ),
    info(
        "log_level_changed",
        "SIGUSR1 has switched debugging on or off.",
        "At debug: send SIGUSR1 again when you have seen enough.",
        ("log_level",),
    ),
    warning("signal_ignored", "A signal without a meaning has arrived.", "", ("signal",)),
    error(
        "stopped_at_once",
        "A second signal has ended the process without the rest of the drain.",
        "Nothing: the records are read again at the next start.",
        ("signal",),
    ),
    error(
        "stop_deadline_passed",
        "The stop took longer than shutdown.drain_seconds.",
        "Raise shutdown.drain_seconds and the grace period of the pod, if it repeats.",
    ),
    error(
        "exit_deadline_passed",
        "The worker has ended, but a thread did not: a name lookup or a file system hangs.",
        "Check DNS and mounted file systems.",
    ),
    error(
        "run_failed",
        "The worker needs something that is not available.",
        "Fix what the detail names.",
        ("exit_code", "detail"),
    ),
    error(
        "crashed",
        "A bug in the worker has ended it.",
        "Report it, with this line.",
        ("exit_code",),
    ),
    info(
        "service_links_ignored",
        "Variables that Kubernetes sets for Services are ignored.",
        "Set enableServiceLinks: false in the pod to avoid them.",
        ("variables", "count"),
    ),
    warning(
        "container_memory_low",
        "The memory limit of the container is lower than the settings allow the worker to use.",
        "Raise the limit, or lower limits.memory_bytes_max or dedup.window_rows_max.",
        ("detail",),
    ),
    warning(
        "compiled_pass_not_usable",
        "The intake's compiled pass is there, but not for this interpreter. The intake runs in "
        "Python and takes twice the CPU.",
        "Install the package with this interpreter, or run `make compiled`; or delete the file.",
        ("detail",),
    ),
    info("key_changed", "A key file has another key, which is used now.", "", ("application_id",)),
    warning(
        "key_not_read",
        "A key file can't be read. The previous key stays in use.",
        "Fix the file or its rights.",
        ("application_id", "path", "detail"),
    ),
    warning(
        "key_not_usable",
        "A key file holds no valid key. The previous key stays in use.",
        "Write the key into the file.",
        ("application_id", "path", "detail"),
    ),
    info("admin_token_changed", "The admin port's token file has another token, used now."),
    warning(
        "admin_token_not_usable",
        "The admin port's token file holds no token. The previous token stays in use.",
        "Fix what the detail says.",
        ("detail",),
    ),
    info("admin_certificate_changed", "The admin port uses a changed certificate."),
    warning(
        "admin_certificate_not_usable",
        "The admin port's certificate or key can't be used. The previous one stays in use.",
        "Fix what the detail says, before the previous certificate expires.",
        ("detail",),
    ),
    error(
        "exception_ignored",
        "An exception occurred where no code could catch it, such as a destructor.",
        "Report it, with this line.",
        ("detail",),
    ),
    error("thread_failed", "A thread has ended with an exception.", "Report it.", ("thread_name",)),
    error(
        "log_line_failed",
        "A line could not be formatted. Its content is not shown.",
        "Report it.",
        ("logger_name", "line", "error_kind"),
    ),
    warning(
        "log_lines_dropped",
        "Lines are missing here: standard error was not read in time, or could not be written.",
        "Check the process that reads the log, and the disk.",
        ("lines",),
    ),
    warning(
        "traces_not_accepted",
        "The collector was not reached, or refused spans. They are lost and counted; delivery goes "
        "on. No further line until it accepts spans again.",
        "Fix what the detail names: address, header, network policy.",
        ("detail",),
    ),
    info("traces_accepted_again", "The collector accepts spans again."),
    warning(
        "traces_left_behind",
        "The worker stops, and the collector did not take the last spans in time.",
        "If it repeats: see traces_not_accepted.",
        ("spans",),
    ),
)

KAFKA = (
    warning(
        "kafka_not_reached",
        "The brokers can't be used. The worker tries again.",
        "Fix what the detail names; `check-config --connect` finds the same.",
        ("group_id", "detail", "retry_seconds"),
    ),
    warning(
        "group_held_by_another_program",
        "Another program uses the same consumer group in another way.",
        "Stop the program that the detail names, or set kafka.group_id.",
        ("group_id", "detail", "retry_seconds"),
    ),
    LogEvent(
        "topic_missing",
        ("error", "warning"),
        "A topic does not exist, or is hidden. The others are read. Of a parking topic: a warning, "
        "once until it exists.",
        "Create the topic, correct its name, or grant the permission that the detail names.",
        ("topic", "detail", "retry_seconds"),
    ),
    warning(
        "topics_not_looked_for",
        "The brokers could not be asked which topics exist. They are asked again.",
        "If it repeats: check the brokers.",
        ("detail",),
    ),
    warning(
        "start_positions_not_found",
        "The start of partitions can't be determined yet. The other partitions are read.",
        "Start the brokers that lead them.",
        ("partitions", "detail", "retry_seconds"),
    ),
    warning(
        "ends_not_known",
        "The brokers could not be asked where partitions end. Lag and forecasts are old.",
        "If it repeats: check the brokers.",
        ("detail", "retry_seconds"),
    ),
    error(
        "poll_failed",
        "A partition can't be read at an offset. The other partitions are read.",
        "The detail names the cause: see docs/troubleshooting.md#a-partition-cannot-be-read.",
        ("partition", "offset", "detail"),
    ),
    error(
        "partition_away",
        "A partition has no leader, or its leader does not answer.",
        "Start the broker. The partition continues by itself.",
        ("partition", "detail"),
    ),
    warning(
        "position_set_back",
        "The client's position was not where the last chunk ended, and was corrected.",
        "If it repeats: report it.",
        ("partition", "offset"),
    ),
    warning(
        "window_not_rebuilt",
        "The tails of new partitions could not be read in time. Repetitions of events in these "
        "records are delivered twice.",
        "Raise dedup.rebuild_seconds_max, or check the brokers.",
        ("records", "detail"),
    ),
    error(
        "revocation_not_released",
        "Revoked partitions were not drained in time. They count as lost.",
        "Report it, with the lines before it.",
        ("partitions",),
    ),
    error(
        "consumer_rebuilt",
        "The consumer did not recover and is replaced. Nothing is lost.",
        "Repair the brokers or the network that the reason names.",
        ("reason", "tasks"),
    ),
    warning(
        "consumer_not_closed",
        "The consumer could not be closed. Its session ends by itself.",
        "Check the brokers.",
        ("detail",),
    ),
    warning(
        "instance_id_in_use",
        "Another process uses the instance id of state_dir; this one gets another id.",
        "Give each worker a directory of its own.",
        ("path",),
    ),
    warning(
        "instance_id_replaced",
        "The file of the instance id was not usable, and has another id now.",
        "",
        ("path", "detail"),
    ),
    warning(
        "instance_id_not_kept",
        "The instance id can't be kept: after a crash, partitions wait for the end of the session.",
        "Make state_dir writable.",
        ("path", "detail"),
    ),
    warning(
        "take_over_failed",
        "The session of a crashed predecessor could not be ended. Its partitions wait for its end.",
        "Grant DESCRIBE and READ of the group, if the detail says so.",
        ("group_id", "member_id", "detail"),
    ),
    info(
        "predecessor_taken_over",
        "The session of a crashed predecessor was ended. Its partitions are free at once.",
        "",
        ("group_id", "members"),
    ),
)
