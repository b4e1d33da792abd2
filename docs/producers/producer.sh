#!/bin/sh
# Send one offline event and wait until Kafka has it. Needs: apt-get install kcat
set -eu
user=user-7
# Of a line, what stands before the first tab is the key: one user, one partition; murmur2, as the clients of other languages have it.
# The id is made once per event.
printf '%s\t%s\n' "$user" \
  '{"application_id": 1111, "profile_id": "'"$user"'", "event_name": "film_watched", "event_timestamp": '"$(date +%s)"', "event_json": {"film": "Solaris", "minutes": 42}}' |
  kcat -P -b "${KAFKA_BOOTSTRAP_SERVERS:-localhost:9092}" -t offline-events -K '\t' \
    -X enable.idempotence=true -X topic.partitioner=murmur2_random -H "event-id=$(cat /proc/sys/kernel/random/uuid)"
