{{/*
The operator's rules in files/rbac.yaml, as far as they are about resources in namespaces
("namespaced") or about all others ("cluster"), without those of an engine that is off, which are
known by their first resource; called with [root, scope].
*/}}
{{- define "fulcrum.rules" -}}
{{- $cluster := list "namespaces" "customresourcedefinitions" "clustercompressionrecipes" "clustergatepolicies" -}}
{{- $unused := ternary list (list "jobs" "pods" "workloads") (index . 0).Values.engines.job.enabled -}}
{{- range splitList "\n---\n" ((index . 0).Files.Get "files/rbac.yaml") -}}
{{- $object := fromYaml . -}}
{{- if and (eq $object.kind "ClusterRole") (eq $object.metadata.name "fulcrum-operator") -}}
{{- range $rule := $object.rules -}}
{{- $resources := list -}}
{{- if not (has (first $rule.resources) $unused) -}}
{{- range $rule.resources -}}
{{- if eq (has . $cluster) (eq (index $ 1) "cluster") }}{{ $resources = append $resources . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with $resources }}
- {{ merge (dict "resources" .) $rule | toYaml | nindent 2 | trim }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Rules of a Role in files/rbac.yaml, with the release's own name of the Lease. */}}
{{- define "fulcrum.ownRules" -}}
{{- range splitList "\n---\n" (.Files.Get "files/rbac.yaml") -}}
{{- $object := fromYaml . -}}
{{- if eq $object.kind "Role" -}}
{{- range $rule := $object.rules }}
{{- if $rule.resourceNames }}{{ $_ := set $rule "resourceNames" (list (include "fulcrum.fullname" $)) }}{{ end }}
- {{ toYaml $rule | nindent 2 | trim }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A role and its binding to the operator; called with a dict of root, name, namespace ("" is the cluster), rules. */}}
{{- define "fulcrum.bound" -}}
{{- $kind := ternary "ClusterRole" "Role" (eq .namespace "") }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "fulcrum.labels" .root | nindent 4 }}
rules: {{- .rules | trim | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "fulcrum.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "fulcrum.serviceAccount" .root }}
    namespace: {{ .root.Release.Namespace }}
{{- end -}}
