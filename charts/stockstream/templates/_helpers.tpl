{{- define "stockstream.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "stockstream.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "stockstream.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "stockstream.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* A Deployment's selector can't be changed: neither can these. */}}
{{- define "stockstream.selectorLabels" -}}
app.kubernetes.io/name: {{ include "stockstream.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "stockstream.labels" -}}
{{ include "stockstream.selectorLabels" . }}
app.kubernetes.io/part-of: stockstream
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "stockstream.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "stockstream.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name: name the service account that exists, or let the chart make one (serviceAccount.create: true)" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* An image by its values and the version that it has when they name none: (list $image $version) */}}
{{- define "stockstream.image" -}}
{{- $image := index . 0 }}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (default (index . 1) $image.tag) }}
{{- end }}
{{- end }}

{{/* Kubernetes replaces $(NAME) in arguments by the operator's own environment: it must come through as it is. */}}
{{- define "stockstream.argument" -}}
{{- . | replace "$(" "$$(" | quote }}
{{- end }}
