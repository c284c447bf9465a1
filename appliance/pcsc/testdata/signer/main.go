// Command signer links everything that speaks to a token; build_test.go looks
// at the binary.
package main

import (
	"fmt"
	"os"

	"touchmark/appliance/piv"
)

func main() {
	t, err := piv.Open(piv.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%+v\n", t.Info())
}
