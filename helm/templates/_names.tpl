{{- define "worker.chart" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 58 | trimSuffix "-" -}}
{{- end -}}

{{- define "worker.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 58 | trimSuffix "-" -}}
{{- else if contains (include "worker.chart" .) .Release.Name -}}
{{- .Release.Name | trunc 58 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "worker.chart" .) | trunc 58 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "worker.selector" -}}
app.kubernetes.io/name: {{ include "worker.chart" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The pod of `helm test` must match neither the service nor the disruption budget. */}}
{{- define "worker.testName" -}}
{{ include "worker.chart" . }}-test
{{- end -}}

{{/* Labels of all objects but pods. */}}
{{- define "worker.labels" -}}
{{- $labels := include "worker.selector" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- merge $labels .Values.labels | toYaml -}}
{{- end -}}

{{/* Not the chart's version: a new chart that changes nothing in the pod replaces no pod. */}}
{{- define "worker.podLabels" -}}
{{- $labels := include "worker.selector" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- merge $labels .Values.podLabels .Values.labels | toYaml -}}
{{- end -}}

{{- define "worker.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "worker.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "worker.keysSecret" -}}
{{- if .Values.keys.secretName -}}
{{- .Values.keys.secretName -}}
{{- else if .Values.keys.values -}}
{{- include "worker.name" . }}-keys
{{- end -}}
{{- end -}}

{{- define "worker.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}
