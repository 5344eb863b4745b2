{{/* Names and labels. */}}

{{- define "fulcrum.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* "fulcrum-operator" in a release of the chart's own name, which documents and messages assume. */}}
{{- define "fulcrum.fullname" -}}
{{- $name := include "fulcrum.name" . -}}
{{- $release := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default (printf "%s-operator" ($release | trunc 50 | trimSuffix "-")) .Values.fullnameOverride -}}
{{- end -}}

{{- define "fulcrum.serviceAccount" -}}
{{- default (include "fulcrum.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* How the API server calls the operator. */}}
{{- define "fulcrum.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "fulcrum.serviceAccount" . }}
{{- end -}}

{{- define "fulcrum.selector" -}}
app.kubernetes.io/name: {{ include "fulcrum.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "fulcrum.labels" -}}
{{ include "fulcrum.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Name, tag or digest; called with [image, root]. */}}
{{- define "fulcrum.image" -}}
{{- $image := first . -}}
{{- $tag := default (last .).Chart.AppVersion $image.tag -}}
{{- $image.repository -}}{{- if $image.digest -}}@{{ $image.digest }}{{- else -}}:{{ $tag }}{{- end -}}
{{- end -}}

{{/* A manifest of files/ as it is, with our labels; called with [manifest, annotations, root]. */}}
{{- define "fulcrum.adopted" -}}
{{- $object := fromYaml (index . 0) -}}
{{- $labels := include "fulcrum.labels" (index . 2) | fromYaml -}}
{{- $_ := set $object.metadata "labels" (merge (default dict $object.metadata.labels) $labels) -}}
{{- with index . 1 }}{{- $_ := set $object.metadata "annotations" . -}}{{- end -}}
{{- toYaml $object -}}
{{- end -}}
