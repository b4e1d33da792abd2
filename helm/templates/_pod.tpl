{{/* What the worker's pod and the pod of `helm test` share: who they run as, and what they see. */}}
{{- define "worker.podBasics" -}}
serviceAccountName: {{ include "worker.serviceAccount" . }}
automountServiceAccountToken: {{ .Values.serviceAccount.automountToken }}
# The variables of a Service named amw would look like settings.
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "worker.name" . }}
  {{- with include "worker.keysSecret" . }}
  - name: keys
    secret:
      secretName: {{ . }}
      defaultMode: 0440
  {{- end }}
  {{- range $name, $secret := .Values.secretFiles }}
  - name: secret-{{ $name }}
    secret:
      secretName: {{ $secret }}
      defaultMode: 0440
  {{- end }}
  {{- if .Values.config.state_dir }}
  - name: state
    emptyDir:
      sizeLimit: 1Mi
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "worker.containerBasics" -}}
image: {{ include "worker.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- include "worker.resources" . | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  # A subPath isn't updated: the worker reads its configuration once, and a change is a new pod.
  - name: config
    mountPath: /etc/appmetrica-worker/config.yaml
    subPath: config.yaml
    readOnly: true
  {{- if include "worker.keysSecret" . }}
  # A folder is updated: the worker uses a changed key at once.
  - name: keys
    mountPath: /etc/appmetrica-worker/keys
    readOnly: true
  {{- end }}
  {{- range $name, $secret := .Values.secretFiles }}
  - name: secret-{{ $name }}
    mountPath: /etc/appmetrica-worker/{{ $name }}
    readOnly: true
  {{- end }}
  {{- with .Values.config.state_dir }}
  # The instance id outlives a crash of the container.
  - name: state
    mountPath: {{ . }}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
