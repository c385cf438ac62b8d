{{/*
What the operator may do where it serves fleets: in every namespace (ClusterRole) or in each listed one (Role).
No wildcards, no reading of Secrets, and no right can be handed out that is not in this list: API servers refuse a Role that holds more than
its author has. Deleting is needed for pruning and for undoing a revision;
`update` and `deletecollection` are not, because everything is written by server-side apply and deleted by name and UID.
*/}}
{{- define "goproxy-operator.fleetRules" -}}
- apiGroups: [goproxy.rs]
  resources: [goproxies]
  verbs: [get, list, watch]
- apiGroups: [goproxy.rs]
  resources: [goproxies/status]
  verbs: [patch]
# Asked for by API servers that check who may set an owner reference which blocks the owner's deletion.
- apiGroups: [goproxy.rs]
  resources: [goproxies/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [controllerrevisions, deployments, statefulsets]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services]
  verbs: [create, delete, get, list, patch, watch]
# The login of a Redis that a fleet brings along is made once. Never `patch`: its answer would show what any Secret holds.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
# Volumes are never deleted by the operator: one that may go with its fleet gets an owner.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [create, get, list, patch, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create, delete, get, list, patch, watch]
# What a fleet's edge is told, and one Role for each edge: it reads that one object, answers in its status, and looks for the proxies.
- apiGroups: [goproxy.rs]
  resources: [edgestates]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings, roles]
  verbs: [create, delete, get, list, patch, watch]
# The operator itself uses neither: they are here to be handed on in those Roles.
- apiGroups: [goproxy.rs]
  resources: [edgestates/status]
  verbs: [patch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
# Why a proxy does not become ready is written in its pods.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* Secrets may be read where the operator also serves fleets, and nowhere else. */}}
{{- define "goproxy-operator.requireServedFleetNamespaces" -}}
{{- if .Values.namespaces }}
{{- range .Values.fleetNamespaces }}
{{- if not (has . $.Values.namespaces) }}
{{- fail (printf "fleetNamespaces: %q is not in namespaces (%s): the operator would read Secrets where it serves no fleet; add it to namespaces or remove it here" . (join ", " $.Values.namespaces)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
