// Package env is what every plugin may ask of the host: time, randomness, log and configuration.
//
// In a component the functions ask the host, in a test its stand-in, which repeats itself. Do not use the clock of package time for what is
// decided, nor math/rand without a seed from here: a replay would decide otherwise.
package env

import (
	"encoding/binary"
	"time"
)

// Level is the severity of a log line.
type Level uint8

const (
	Debug Level = iota
	Info
	Warn
	Error
)

// Now is the moment at which the running call began; the same throughout the call.
func Now() time.Time { return time.Unix(0, int64(now())).UTC() }

// Random gives random bytes, at most 4,096 at a time.
func Random(count int) []byte { return random(count) }

// RandomBelow gives a whole number from 0 up to, not including, limit.
func RandomBelow(limit int) int {
	return int(binary.LittleEndian.Uint64(random(8)) % uint64(limit))
}

// Log writes a line to the plugin's log, which `pintle plugin logs` prints.
func Log(level Level, message string) { log(level, message) }

// Config is `spec.config` of the Plugin object; empty when there is none.
func Config() string { return config() }
