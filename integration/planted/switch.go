package main

// switchPath is where the package of the switch is, as far as the compiler knows.
const switchPath = "internal/planted/planted.go"

// switchSource is the package that copies import. The environment says which bug is
// switched on in a process.
const switchSource = `// Package planted says which bug is switched on.
package planted

import "os"

var on = os.Getenv("PLANTED")

// Is reports whether it is this one.
func Is(name string) bool { return on == name }
`
