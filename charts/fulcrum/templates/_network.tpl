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
{{- $cidr := (default dict $peer.ipBlock).cidr -}}
{{- if has $cidr (list "0.0.0.0/0" "::/0") -}}
{{- if not $policy.apiServer }}{{ fail (printf "networkPolicy.apiServer is needed with %s in networkPolicy.store.to, so that jobs do not reach it: kubectl get service,endpointslices --namespace=default" $cidr) }}{{ end -}}
{{- $blocked := default list $peer.ipBlock.except -}}
{{- range prepend $policy.apiServer (ternary "fd00:ec2::254/128" "169.254.169.254/32" (eq $cidr "::/0")) -}}
{{- if eq (contains ":" .) (eq $cidr "::/0") }}{{ $blocked = append $blocked . }}{{ end -}}
{{- end -}}
{{- $_ := set $peer.ipBlock "except" (uniq $blocked) -}}
{{- end -}}
{{- $to = append $to $peer -}}
{{- end -}}
{{- if not $to }}{{ fail "networkPolicy.store.to is needed, so that pods of jobs reach the store and nothing else; or set networkPolicy.jobs to false" }}{{ end -}}
{{- include "fulcrum.peersRule" (dict "to" $to "ports" $policy.store.ports) -}}
{{- end -}}
