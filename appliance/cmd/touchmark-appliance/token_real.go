//go:build !emulated || pcscd

package main

import "github.com/spf13/cobra"

// addSocket and register do nothing: production builds know no emulated token.
func (f *tokenFlags) addSocket(*cobra.Command) {}

func (f *tokenFlags) register() {}
