{{/* The operator's configuration file: what follows from other values goes over `settings`. */}}
{{- define "fulcrum.settings" -}}
{{- $settings := deepCopy .Values.settings -}}
{{- $election := default dict $settings.election -}}
{{- $_ := set $election "lease_name" (include "fulcrum.fullname" .) -}}
{{- $fixed := dict
  "namespace" .Release.Namespace
  "namespaces" .Values.namespaces
  "store" (required "store.url is needed: where artifacts and evidence are kept, such as s3://bucket/fulcrum" .Values.store.url)
  "http" (dict "host" "0.0.0.0" "port" .Values.metrics.port)
  "election" $election
  "pools" .Values.pools
-}}
{{- with .Values.store.sourceRoot }}{{ $_ := set $fixed "source_root" . }}{{ end -}}
{{- $_ := set $fixed "process" (dict "enabled" false) -}}
{{- with include "fulcrum.job" . }}{{ $_ := set $fixed "job" (fromYaml .) }}{{ end -}}
{{- if not (or .Values.engines.job.enabled .Values.engines.kubeflow.url) -}}
{{- fail "no engine is set up: set engines.job.enabled, or engines.kubeflow.url" -}}
{{- end -}}
{{- with include "fulcrum.kubeflow" . }}{{ $_ := set $fixed "kubeflow" (fromYaml .) }}{{ end -}}
{{- toYaml (merge $fixed $settings) -}}
{{- end -}}

{{/* Settings of the engine job, or nothing where it is off. */}}
{{- define "fulcrum.job" -}}
{{- if .Values.engines.job.enabled -}}
{{- $usual := dict
  "image" (include "fulcrum.image" (list .Values.components.image .))
  "image_pull_policy" .Values.components.image.pullPolicy
  "store_secret" .Values.store.existingSecret
-}}
{{- toYaml (mergeOverwrite $usual .Values.engines.job) -}}
{{- end -}}
{{- end -}}

{{/* Settings of the engine kubeflow, or nothing where it is off. */}}
{{- define "fulcrum.kubeflow" -}}
{{- $values := .Values.engines.kubeflow -}}
{{- if $values.url -}}
{{- if and $values.in_job_namespace (not .Values.namespaces) -}}
{{- fail "engines.kubeflow.in_job_namespace needs the list of all profiles in namespaces" -}}
{{- end -}}
{{- if and $values.auth.tokenKey $values.auth.serviceAccountToken -}}
{{- fail "engines.kubeflow.auth.tokenKey and engines.kubeflow.auth.serviceAccountToken exclude each other" -}}
{{- end -}}
{{- $settings := omit $values "auth" "rbac" -}}
{{- if not $settings.image }}{{ $_ := set $settings "image" (include "fulcrum.image" (list .Values.components.image .)) }}{{ end -}}
{{- if $values.auth.serviceAccountToken }}{{ $_ := set $settings "token_path" "/var/run/secrets/fulcrum/kubeflow/token" }}{{ end -}}
{{- if $values.auth.caKey }}{{ $_ := set $settings "ca_path" "/etc/fulcrum-kubeflow/ca.pem" }}{{ end -}}
{{- toYaml $settings -}}
{{- end -}}
{{- end -}}
