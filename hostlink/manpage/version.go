package manpage

import "runtime/debug"

// Version is what a program says of itself with --version: the commit that it was built of, as the toolchain wrote it down.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
