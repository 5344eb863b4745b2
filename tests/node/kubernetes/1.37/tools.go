//go:build tools

// Package tools imports the commands that a node is built from, so that `go mod tidy` keeps what
// they need. The versions are those of the control plane.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
