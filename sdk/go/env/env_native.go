//go:build !wasip1

package env

import "os"

// Stands in for the host in tests. Random bytes count up, so that tests repeat.
var drawn byte

func now() uint64 { return 1_700_000_000_000_000_000 }

func random(count int) []byte {
	drawn++
	bytes := make([]byte, count)
	for i := range bytes {
		bytes[i] = drawn*31 + byte(i)*7
	}
	return bytes
}

func log(_ Level, message string) { os.Stdout.WriteString("log: " + message + "\n") }

func config() string { return "" }
