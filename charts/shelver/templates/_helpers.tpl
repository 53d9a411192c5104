{{- /* The installation's name, at most 40 characters, so that names of pools and jobs fit behind it. */ -}}
{{- define "shelver.name" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Chart.Name $name) }}{{ $name = printf "%s-%s" $name .Chart.Name }}{{ end -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- /* What selects pods. dict root, component */ -}}
{{- define "shelver.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "shelver.labels" -}}
{{ include "shelver.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- /* metadata of an object. dict root, component, name (a suffix; empty: none) */ -}}
{{- define "shelver.metadata" -}}
name: {{ include "shelver.name" .root }}{{ with .name }}-{{ . }}{{ end }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "shelver.labels" . | nindent 2 }}
{{- end }}

{{- /* A setting as shared.settings reads it: whole numbers without an exponent. */ -}}
{{- define "shelver.setting" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{- /* Everything of a pod but its containers; ends in its volumes, so that more may follow. dict root, of (values), account */ -}}
{{- define "shelver.pod" -}}
serviceAccountName: {{ .account | default (include "shelver.name" .root) }}
automountServiceAccountToken: {{ not (empty .account) }}
enableServiceLinks: false # they would set variables that begin with SHELVER_
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user | default 10001 }}
  runAsGroup: {{ .user | default 10001 }}
  fsGroup: {{ .user | default 10001 }}
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .of.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .of.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - {name: tmp, emptyDir: {}}
{{- end }}

{{- /* Volumes of Shelver's own pods, after those of `shelver.pod`. */ -}}
{{- define "shelver.volumes" -}}
- {name: home, emptyDir: {}}
- name: objects
  secret: {secretName: {{ include "shelver.objectsSecret" . }}, defaultMode: 0440}
{{- end }}

{{- define "shelver.restricted" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- /* Of a container of Shelver; ends in its mounts. dict root, image, of (values), stores (those it may open besides objects) */ -}}
{{- define "shelver.container" -}}
image: {{ index .root.Values.images .image }}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
{{ include "shelver.restricted" . }}
resources:
  {{- include "shelver.resources" .of | nindent 2 }}
envFrom:
  - configMapRef: {name: {{ include "shelver.name" .root }}-settings}
{{- if or .stores .env }}
env:
  {{- range .stores }}
  {{- include (printf "shelver.%s" .) $.root | nindent 2 }}
  {{- end }}
  {{- range $name, $value := .env }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
  {{- end }}
{{- end }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: home, mountPath: /home/shelver}
  - {name: objects, mountPath: /etc/shelver/objects, readOnly: true}
{{- end }}

{{- /* Requests and limits, with the GPUs where there are some. */ -}}
{{- define "shelver.resources" -}}
{{- $resources := deepCopy .resources -}}
{{- if and .gpu .gpu.count -}}
{{- $_ := set $resources "limits" (merge (dict .gpu.resource .gpu.count) ($resources.limits | default dict)) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end }}

{{- define "shelver.catalog" -}}
- name: SHELVER_CATALOG
{{- with .Values.external.catalog }}
  {{- if .secret }}
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}}
  {{- else }}
  value: mongodb://{{ include "shelver.name" $ }}-mongodb:27017/shelver
  {{- end }}
{{- end }}
{{- end }}

{{- define "shelver.queue" -}}
- name: SHELVER_QUEUE
{{- with .Values.external.queue }}
  {{- if .secret }}
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}}
  {{- else }}
  value: redis://{{ include "shelver.name" $ }}-redis:6379/0
  {{- end }}
{{- end }}
{{- end }}

{{- define "shelver.firstKey" -}}
- name: SHELVER_GATEWAY_ADMIN_KEY
  valueFrom:
    {{- include "shelver.adminKey" . | nindent 4 }}
{{- end }}

{{- define "shelver.clientKey" -}}
- name: SHELVER_KEY
  valueFrom:
    {{- include "shelver.adminKey" . | nindent 4 }}
{{- end }}

{{- define "shelver.adminKey" -}}
{{- with .Values.gateway.adminKey -}}
secretKeyRef: {name: {{ .secret | default (printf "%s-admin-key" (include "shelver.name" $)) }}, key: {{ .key }}}
{{- end }}
{{- end }}

{{- define "shelver.objectsSecret" -}}
{{ .Values.external.objects.secret | default (printf "%s-minio" (include "shelver.name" .)) }}
{{- end }}

{{- /* Pods are made anew when their settings change. */ -}}
{{- define "shelver.checksum" -}}
checksum/settings: {{ include (print $.Template.BasePath "/settings.yaml") . | sha256sum }}
{{- end }}

{{- /* /healthz and /readyz of a port by its name. A store that is away makes a pod unready and never ends it. */ -}}
{{- define "shelver.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: {{ . }}}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: {{ . }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: {{ . }}}
  periodSeconds: 10
  timeoutSeconds: 10
{{- end }}
