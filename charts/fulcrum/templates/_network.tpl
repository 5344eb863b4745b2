{{/* Rules of NetworkPolicies. */}}

{{- define "fulcrum.dnsRule" -}}
- to: {{- toYaml .Values.networkPolicy.dns | nindent 4 }}
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end -}}

{{/* Whom the operator calls: only those, where all their addresses are known. */}}
{{- define "fulcrum.operatorRules" -}}
{{- $policy := .Values.networkPolicy -}}
{{- if and $policy.apiServer $policy.store.to (or $policy.kubeflow.to (not .Values.engines.kubeflow.url)) -}}
- to:
    {{- range $policy.apiServer }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  ports: [{port: 443, protocol: TCP}, {port: 6443, protocol: TCP}]
{{ include "fulcrum.storeRule" . }}
{{- if .Values.engines.kubeflow.url }}
{{ include "fulcrum.peersRule" $policy.kubeflow }}
{{- end }}
{{- else -}}
{{ include "fulcrum.anywhereRule" . }}
{{- end -}}
{{- end -}}

{{/* Peers at their ports. */}}
{{- define "fulcrum.peersRule" -}}
- to: {{- toYaml .to | nindent 4 }}
  ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}

{{/* All addresses but those of clouds' metadata, which would give out a node's identity. */}}
{{- define "fulcrum.anywhereRule" -}}
- to:
    - ipBlock: {cidr: 0.0.0.0/0, except: [169.254.169.254/32]}
    - ipBlock: {cidr: "::/0", except: ["fd00:ec2::254/128"]}
    - namespaceSelector: {}
{{- end -}}

{{/*
The store, for users' code: a peer that is a whole address family excepts the metadata address and the
API server.
*/}}
{{- define "fulcrum.storeRule" -}}
{{- $policy := .Values.networkPolicy -}}
{{- $to := list -}}
{{- range $policy.store.to -}}
{{- $peer := deepCopy . -}}
{{- if and $peer.ipBlock (eq (default dict $peer.ipBlock).cidr "0.0.0.0/0") -}}
{{- $blocked := $policy.apiServer -}}
{{- if not $blocked }}{{ fail "networkPolicy.apiServer is needed with networkPolicy.store.to 0.0.0.0/0, so that jobs do not reach it: kubectl get endpointslices -n default kubernetes, and the address of the service" }}{{ end -}}
{{- $_ := set $peer.ipBlock "except" (concat (default list $peer.ipBlock.except) (list "169.254.169.254/32") $blocked | uniq) -}}
{{- end -}}
{{- $to = append $to $peer -}}
{{- end -}}
{{- if not $to }}{{ fail "networkPolicy.store.to is needed, so that pods of jobs reach the store and nothing else; or set networkPolicy.jobs to false" }}{{ end -}}
{{- include "fulcrum.peersRule" (dict "to" $to "ports" $policy.store.ports) -}}
{{- end -}}
