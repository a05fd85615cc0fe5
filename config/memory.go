package config

import "github.com/KimMachineGun/automemlimit/memlimit"

// fallbackMemory is taken for the machine's memory where the system does not tell.
const fallbackMemory = 4 * gib

// machineMemory is what this process may use at most, in bytes: the machine's
// memory, or the limit of the container it runs in when that is less.
func machineMemory() int64 {
	total := int64(fallbackMemory)
	if n, err := memlimit.FromSystem(); err == nil && n > 0 {
		total = int64(min(n, 1<<60))
	}
	if n, err := memlimit.FromCgroup(); err == nil && n > 0 {
		total = min(total, int64(min(n, 1<<60)))
	}
	return total
}
