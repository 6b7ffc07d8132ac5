//go:build tools

// Package tools names what this module builds, so that go.mod and go.sum pin all of it.
package tools

import (
	_ "github.com/flannel-io/flannel"
)
