{{/* The worker's configuration file: config, with the file of each key that the chart mounts. */}}
{{- define "worker.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if include "worker.keysSecret" . -}}
{{- range $id, $application := $config.appmetrica.applications -}}
{{- if not (dig "post_api_key_file" "" $application) -}}
{{- $_ := set $application "post_api_key_file" (printf "/etc/appmetrica-worker/keys/%s" $id) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "worker.adminPort" -}}
{{- dig "admin" "port" 9090 .Values.config | int -}}
{{- end -}}

{{/* Where probes and scrapes go: "metrics" if metrics have a port of their own, else "admin". */}}
{{- define "worker.metricsPortName" -}}
{{- ternary "metrics" "admin" (include "worker.metricsPort" . | int | lt 0) -}}
{{- end -}}

{{/* The port of metrics alone; empty: they are on the admin port. */}}
{{- define "worker.metricsPort" -}}
{{- with dig "admin" "metrics_port" 0 .Values.config | int -}}{{ . }}{{- end -}}
{{- end -}}

{{/* Whether the admin port can be reached from outside the pod. */}}
{{- define "worker.adminIsOpen" -}}
{{- if has (dig "admin" "host" "::" .Values.config) (list "::" "0.0.0.0") -}}yes{{- end -}}
{{- end -}}

{{/* Whether the admin port speaks TLS. */}}
{{- define "worker.hasTls" -}}
{{- if dig "admin" "ssl_certificate_file" "" .Values.config -}}yes{{- end -}}
{{- end -}}

{{/* Whether the admin port asks for a token, as far as the chart knows. */}}
{{- define "worker.hasToken" -}}
{{- if dig "admin" "token_file" "" .Values.config -}}yes{{- end -}}
{{- range .Values.env -}}
{{- if hasPrefix "AMW_ADMIN__TOKEN" .name -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{/* The topics of the routes, each with its partner topics:
     {"topics": [{"source", "letters", "parked" or ""}, …]} */}}
{{- define "worker.topics" -}}
{{- $letters := dig "dead_letter" "topic" "offline-events.dlq" .Values.config -}}
{{- $parking := dig "parking" "enabled" true .Values.config -}}
{{- $parked := dig "parking" "topic" "" .Values.config -}}
{{- $topics := list -}}
{{- range .Values.config.routes | default (list (dict "topic" "offline-events")) -}}
{{- $own := .parking | default dict -}}
{{- $parks := $parking -}}
{{- if not (kindIs "invalid" $own.enabled) -}}{{- $parks = $own.enabled -}}{{- end -}}
{{- $name := "" -}}
{{- if $parks -}}
{{- $name = $own.topic | default $parked | default (printf "%s.parked" .topic) -}}
{{- end -}}
{{- $own := dig "topic" $letters (.dead_letter | default dict) -}}
{{- $topics = append $topics (dict "source" .topic "letters" $own "parked" $name) -}}
{{- end -}}
{{- toYaml (dict "topics" $topics) -}}
{{- end -}}

{{/* Bytes of a Kubernetes quantity. */}}
{{- define "worker.bytes" -}}
{{- $text := toString .quantity -}}
{{- if kindIs "float64" .quantity -}}{{- $text = int64 .quantity | toString -}}{{- end -}}
{{- if not (regexMatch "^[0-9]+([.][0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$" $text) -}}
{{- fail (printf "%s: %q is no memory quantity: write 512Mi or 1Gi" .path $text) -}}
{{- end -}}
{{- $units := dict "" 1 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $units = merge $units (dict "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000) -}}
{{- $unit := regexFind "[a-zA-Z]*$" $text -}}
{{- mulf (float64 (trimSuffix $unit $text)) (get $units $unit) | floor | int64 -}}
{{- end -}}

{{/* What a worker may need at most, as `check-config` computes it: records, requests in flight,
     remembered keys, the process itself. */}}
{{- define "worker.memoryNeeded" -}}
{{- $records := dig "limits" "memory_bytes_max" 268435456 .Values.config | int64 -}}
{{- $keys := dig "dedup" "window_rows_max" 1000000 .Values.config | int64 -}}
{{- $requests := dig "delivery" "requests_in_flight_max" 8 .Values.config | int64 -}}
{{- $bodies := min $records (mul $requests (include "worker.bodyBytesMax" . | int64)) -}}
{{- add $records $bodies (mul $requests 327680) (mul $keys 128) 100663296 -}}
{{- end -}}

{{/* The size of the largest request of any route. */}}
{{- define "worker.bodyBytesMax" -}}
{{- if eq (dig "delivery" "request" "body" .Values.config) "params" -}}
{{- dig "delivery" "query_bytes_max" 7168 .Values.config | int64 -}}
{{- else -}}
{{- $common := dig "batching" "body_bytes_max" 8388608 .Values.config -}}
{{- $largest := 0 -}}
{{- range .Values.config.routes | default (list dict) -}}
{{- $own := get (.batching | default dict) "body_bytes_max" | default $common -}}
{{- $largest = max $largest (int64 $own) -}}
{{- end -}}
{{- $largest -}}
{{- end -}}
{{- end -}}

{{/* The resources, with the memory that is not given: the need and a fifth, in steps of 32 MiB. */}}
{{- define "worker.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- $needed := include "worker.memoryNeeded" . | int64 -}}
{{- $steps := divf (mulf $needed 1.2) 33554432 | ceil | int64 -}}
{{- $requests := $resources.requests | default dict -}}
{{- $limits := $resources.limits | default dict -}}
{{- if not $limits.memory -}}
{{- $_ := set $limits "memory" (printf "%dMi" (mul $steps 32)) -}}
{{- end -}}
{{- if not $requests.memory -}}
{{- $_ := set $requests "memory" $limits.memory -}}
{{- end -}}
{{- $_ := set $resources "requests" $requests -}}
{{- $_ := set $resources "limits" $limits -}}
{{- toYaml $resources -}}
{{- end -}}

{{- define "worker.drainSeconds" -}}
{{- dig "shutdown" "drain_seconds" 40 .Values.config | float64 -}}
{{- end -}}

{{- define "worker.graceSeconds" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- add (include "worker.drainSeconds" . | float64 | ceil | int64) 20 -}}
{{- else -}}
{{- .Values.terminationGracePeriodSeconds | int64 -}}
{{- end -}}
{{- end -}}

{{/* How many workers can have work, as far as the chart knows; empty: unknown. */}}
{{- define "worker.partitions" -}}
{{- if .Values.partitions -}}
{{- .Values.partitions | int -}}
{{- else if and .Values.strimzi.enabled .Values.strimzi.topics.enabled -}}
{{- $sources := (include "worker.topics" . | fromYaml).topics | len -}}
{{- mul $sources (.Values.strimzi.topics.partitions | int) -}}
{{- end -}}
{{- end -}}
