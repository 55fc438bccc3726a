//go:build wasip1

package env

import (
	"runtime"
	"unsafe"

	"pintle.dev/sdk/internal/abi"
)

//go:wasmimport pintle:host/env@0.1.0 now
func now() uint64

//go:wasmimport pintle:host/env@0.1.0 random
func hostRandom(count uint32, answer unsafe.Pointer)

//go:wasmimport pintle:host/env@0.1.0 log
func hostLog(level uint32, message unsafe.Pointer, length uint32)

//go:wasmimport pintle:host/env@0.1.0 config
func hostConfig(answer unsafe.Pointer)

// What stands for WASI gathers the lines that the runtime writes here, the words of a panic among them, and logs each when it is whole.
//
//go:wasmimport wasi_snapshot_preview1 pintle_lines
func gatherLines(buffer unsafe.Pointer, size uint32)

var lines [4096]byte

func init() { gatherLines(unsafe.Pointer(&lines), uint32(len(lines))) }

// Where imports answer: not on the stack, which moves when the host asks for memory in between.
var answer abi.String

func random(count int) []byte {
	hostRandom(uint32(count), unsafe.Pointer(&answer))
	return []byte(abi.Text(answer))
}

func log(level Level, message string) {
	hostLog(uint32(level), unsafe.Pointer(unsafe.StringData(message)), uint32(len(message)))
	runtime.KeepAlive(message)
}

func config() string {
	hostConfig(unsafe.Pointer(&answer))
	return abi.Text(answer)
}
