//go:build tools

// Package tools imports the command that is built, so that `go mod tidy` keeps what it needs.
package tools

import _ "github.com/versity/versitygw/cmd/versitygw"
