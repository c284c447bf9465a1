// Command memory is what the bench adds to the image's root: as the first process it starts a copy of itself, which says over and
// over how much memory can be had, and becomes the image's own first process.
package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

func main() {
	if os.Getpid() == 1 {
		_, err := os.StartProcess("/memory", []string{"/memory"}, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
		fmt.Println("memory started:", err, syscall.Exec("/init", []string{"/init"}, nil))
	}
	for ; ; time.Sleep(500 * time.Millisecond) {
		text, _ := os.ReadFile("/proc/meminfo") // not there before the first process has mounted it
		for line := range strings.Lines(string(text)) {
			if kib, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
				fmt.Println("available", strings.Fields(kib)[0])
			}
		}
	}
}
