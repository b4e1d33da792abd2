{{/* Everything that the schema of the values can't say. Each fault names the value, the reason and
     the fix; all faults are listed at once. */}}
{{- define "worker.check" -}}
{{- $faults := concat (include "worker.faultsOfSecrets" . | fromYamlArray)
      (include "worker.faultsOfPorts" . | fromYamlArray)
      (include "worker.faultsOfMemory" . | fromYamlArray)
      (include "worker.faultsOfTimes" . | fromYamlArray)
      (include "worker.faultsOfScale" . | fromYamlArray)
      (include "worker.faultsOfPairs" . | fromYamlArray) -}}
{{- if $faults -}}
{{- fail (printf "\n  - %s" (join "\n  - " $faults)) -}}
{{- end -}}
{{- end -}}

{{- define "worker.faultsOfSecrets" -}}
{{- $faults := list -}}
{{- $advice := "would be readable in the ConfigMap" -}}
{{- $mounted := include "worker.keysSecret" . -}}
{{- range $id, $application := .Values.config.appmetrica.applications -}}
{{- $path := printf "config.appmetrica.applications.%s" $id -}}
{{- if not (regexMatch "^[1-9][0-9]{0,18}$" $id) -}}
{{- $faults = append $faults (printf "%s: an application's id is a positive integer without leading zeros" $path) -}}
{{- end -}}
{{- if dig "post_api_key" "" $application -}}
{{- $faults = append $faults (printf "%s.post_api_key %s: use keys.secretName or keys.values" $path $advice) -}}
{{- else if not (or $mounted (dig "post_api_key_file" "" $application) (include "worker.hasKeyInEnv" (dict "id" $id "Values" $.Values))) -}}
{{- $faults = append $faults (printf "%s has no key: set keys.secretName, keys.values or post_api_key_file" $path) -}}
{{- end -}}
{{- end -}}
{{- range list (list "kafka" "sasl_password") (list "kafka" "ssl_key_password") (list "admin" "token") (list "admin" "ssl_key_password") -}}
{{- $section := first . -}}
{{- $name := last . -}}
{{- if dig $section $name "" $.Values.config -}}
{{- $faults = append $faults (printf "config.%s.%s %s: use secretFiles and config.%s.%s_file" $section $name $advice $section $name) -}}
{{- end -}}
{{- end -}}
{{- if dig "client_secret" "" (dig "kafka" "sasl_oauth" dict .Values.config | default dict) -}}
{{- $name := "config.kafka.sasl_oauth.client_secret" -}}
{{- $faults = append $faults (printf "%s %s: use secretFiles and %s_file" $name $advice $name) -}}
{{- end -}}
{{- if and .Values.keys.secretName .Values.keys.values -}}
{{- $faults = append $faults "keys.secretName and keys.values exclude each other: remove one" -}}
{{- end -}}
{{- range $id := keys .Values.keys.values | sortAlpha -}}
{{- if not (hasKey $.Values.config.appmetrica.applications $id) -}}
{{- $faults = append $faults (printf "keys.values.%s: config.appmetrica.applications has no %s" $id $id) -}}
{{- end -}}
{{- end -}}
{{- if hasKey .Values.secretFiles "keys" -}}
{{- $faults = append $faults "secretFiles.keys: this folder is that of keys.secretName: use another name" -}}
{{- end -}}
{{- toYaml $faults -}}
{{- end -}}

{{/* The key of an application in a variable, or sources of variables that can't be seen into. */}}
{{- define "worker.hasKeyInEnv" -}}
{{- $name := printf "AMW_APPMETRICA__APPLICATIONS__%s__POST_API_KEY" .id -}}
{{- if .Values.envFrom -}}yes{{- end -}}
{{- range .Values.env -}}
{{- if hasPrefix $name .name -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{- define "worker.faultsOfPorts" -}}
{{- $faults := list -}}
{{- if not (include "worker.adminPort" . | int) -}}
{{- $faults = append $faults "config.admin.port: 0 is a random port, but the probes need a known one" -}}
{{- end -}}
{{- $everywhere := list "::" "0.0.0.0" -}}
{{- $host := dig "admin" "host" "::" .Values.config -}}
{{- $metricsHost := dig "admin" "metrics_host" "::" .Values.config -}}
{{- if include "worker.metricsPort" . -}}
{{- if not (has $metricsHost $everywhere) -}}
{{- $faults = append $faults (printf "config.admin.metrics_host: the probes can't reach %s: use \"::\" or 0.0.0.0" $metricsHost) -}}
{{- end -}}
{{- if eq (include "worker.metricsPort" . | int) (include "worker.adminPort" . | int) -}}
{{- $faults = append $faults "config.admin.metrics_port: must differ from config.admin.port" -}}
{{- end -}}
{{- else if not (include "worker.adminIsOpen" .) -}}
{{- $faults = append $faults (printf "config.admin.host: the probes can't reach %s: use \"::\" or 0.0.0.0, or set config.admin.metrics_port" $host) -}}
{{- end -}}
{{- if eq (dig "admin" "metrics_port" -1 .Values.config | toString) "0" -}}
{{- $faults = append $faults "config.admin.metrics_port: 0 is a random port, but the probes need a known one" -}}
{{- end -}}
{{- $computed := list "AMW_ADMIN__HOST" "AMW_ADMIN__PORT" "AMW_ADMIN__METRICS_" "AMW_ADMIN__SSL_CERTIFICATE_FILE" "AMW_LIMITS__MEMORY_" "AMW_DEDUP__WINDOW_ROWS_MAX" "AMW_DELIVERY__REQUESTS_IN_FLIGHT_MAX" "AMW_BATCHING__BODY_BYTES_MAX" "AMW_SHUTDOWN__" "AMW_STATE_DIR" "AMW_CONFIG" -}}
{{- range .Values.env -}}
{{- $name := .name -}}
{{- range $computed -}}
{{- if hasPrefix . $name -}}
{{- $faults = append $faults (printf "env: the chart computes with this setting and must know it: set it in config, not as %s" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $faults -}}
{{- end -}}

{{- define "worker.faultsOfMemory" -}}
{{- $faults := list -}}
{{- $needed := include "worker.memoryNeeded" . | int64 -}}
{{- $resources := include "worker.resources" . | fromYaml -}}
{{- $limit := include "worker.bytes" (dict "path" "resources.limits.memory" "quantity" $resources.limits.memory) | int64 -}}
{{- $request := include "worker.bytes" (dict "path" "resources.requests.memory" "quantity" $resources.requests.memory) | int64 -}}
{{- if lt $limit $needed -}}
{{- $mebibytes := divf $needed 1048576 | ceil | int64 -}}
{{- $parts := "config.limits.memory_bytes_max + config.delivery.requests_in_flight_max × (config.batching.body_bytes_max + 320 KiB) + 128 B for each of config.dedup.window_rows_max + 96 MiB" -}}
{{- $faults = append $faults (printf "resources.limits.memory: %v is less than the %dMi that the worker may need (%s), and a long outage would get it killed: raise the limit, or lower these settings" $resources.limits.memory $mebibytes $parts) -}}
{{- end -}}
{{- if gt $request $limit -}}
{{- $faults = append $faults (printf "resources.requests.memory: %v is more than the limit %v" $resources.requests.memory $resources.limits.memory) -}}
{{- end -}}
{{- toYaml $faults -}}
{{- end -}}

{{- define "worker.faultsOfTimes" -}}
{{- $faults := list -}}
{{- $drain := include "worker.drainSeconds" . | float64 -}}
{{- if le (include "worker.graceSeconds" . | float64) $drain -}}
{{- $faults = append $faults (printf "terminationGracePeriodSeconds: %v must be more than config.shutdown.drain_seconds (%v), or Kubernetes ends the drain" .Values.terminationGracePeriodSeconds $drain) -}}
{{- end -}}
{{- toYaml $faults -}}
{{- end -}}

{{- define "worker.faultsOfScale" -}}
{{- $faults := list -}}
{{- $scale := .Values.autoscaling -}}
{{- $partitions := include "worker.partitions" . | int -}}
{{- if eq $scale.mode "none" -}}
{{- if and $partitions (gt (int .Values.replicas) $partitions) -}}
{{- $faults = append $faults (printf "replicas: %d workers, but the topics have %d partitions: the others would stand idle" (int .Values.replicas) $partitions) -}}
{{- end -}}
{{- else -}}
{{- if and $partitions (gt (int $scale.maxReplicas) $partitions) -}}
{{- $faults = append $faults (printf "autoscaling.maxReplicas: %d workers, but the topics have %d partitions: the others would stand idle" (int $scale.maxReplicas) $partitions) -}}
{{- end -}}
{{- if gt (int $scale.minReplicas) (int $scale.maxReplicas) -}}
{{- $faults = append $faults (printf "autoscaling.minReplicas: %d is more than autoscaling.maxReplicas (%d)" (int $scale.minReplicas) (int $scale.maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $scale.mode "hpa") (not (dig "requests" "cpu" "" .Values.resources)) -}}
{{- $faults = append $faults "autoscaling.mode: hpa needs resources.requests.cpu" -}}
{{- end -}}
{{- if eq $scale.mode "keda" -}}
{{- if and (eq $scale.keda.trigger "desired_replicas") (not $scale.keda.prometheusAddress) -}}
{{- $faults = append $faults "autoscaling.keda.prometheusAddress: required with the trigger desired_replicas" -}}
{{- end -}}
{{- $protocol := dig "kafka" "security_protocol" "PLAINTEXT" .Values.config -}}
{{- if and (eq $scale.keda.trigger "lag") (hasPrefix "SASL_" $protocol) (not $scale.keda.authenticationRef) -}}
{{- $faults = append $faults (printf "autoscaling.keda.authenticationRef: required with config.kafka.security_protocol %s" $protocol) -}}
{{- end -}}
{{- end -}}
{{- toYaml $faults -}}
{{- end -}}

{{- define "worker.faultsOfPairs" -}}
{{- $faults := list -}}
{{- if and .Values.monitoring.podMonitor.enabled .Values.monitoring.serviceMonitor.enabled -}}
{{- $faults = append $faults "monitoring: podMonitor and serviceMonitor would both scrape each pod: enable one" -}}
{{- end -}}
{{- if and .Values.monitoring.serviceMonitor.enabled (not .Values.service.enabled) -}}
{{- $faults = append $faults "monitoring.serviceMonitor.enabled: needs service.enabled" -}}
{{- end -}}
{{- if or .Values.monitoring.podMonitor.enabled .Values.monitoring.serviceMonitor.enabled -}}
{{- if and (include "worker.hasTls" .) (not .Values.monitoring.tlsConfig) -}}
{{- $faults = append $faults "monitoring.tlsConfig: required with config.admin.ssl_certificate_file, because Prometheus asks pods by address: set serverName and ca" -}}
{{- end -}}
{{- if and (include "worker.hasToken" .) (not .Values.monitoring.authorization) -}}
{{- $faults = append $faults "monitoring.authorization: required with config.admin.token_file: set credentials to the secret of the token" -}}
{{- end -}}
{{- end -}}
{{- $budget := .Values.podDisruptionBudget -}}
{{- $given := list -}}
{{- range list "maxUnavailable" "minAvailable" -}}
{{- if not (kindIs "invalid" (index $budget .)) -}}{{- $given = append $given . -}}{{- end -}}
{{- end -}}
{{- if and $budget.enabled (ne (len $given) 1) -}}
{{- $faults = append $faults "podDisruptionBudget: set one of maxUnavailable and minAvailable, and the other to null" -}}
{{- end -}}
{{- if and .Values.strimzi.enabled (not .Values.strimzi.cluster) -}}
{{- $faults = append $faults "strimzi.cluster: required with strimzi.enabled" -}}
{{- end -}}
{{- $ownStateDir := false -}}
{{- range .Values.extraVolumeMounts -}}
{{- if eq .mountPath ($.Values.config.state_dir | default "") -}}{{- $ownStateDir = true -}}{{- end -}}
{{- end -}}
{{- if $ownStateDir -}}
{{- $faults = append $faults "extraVolumeMounts: the chart mounts an emptyDir at config.state_dir: use another path" -}}
{{- end -}}
{{- toYaml $faults -}}
{{- end -}}
