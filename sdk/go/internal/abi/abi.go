//go:build wasip1

// Package abi lays values out in memory as the component model's canonical ABI has them, which is how Go lays out structs whose pointers
// are 32-bit numbers. What the host hands over, and what it is answered, lies in blocks that last until the call is over.
package abi

import (
	"strings"
	"unsafe"
)

// List is a list, or the bytes of a string.
type List[T any] struct{ At, Count uint32 }

// String is a string in UTF-8.
type String = List[byte]

// Option is a value that may be missing: what stands in its place then is left over from something else.
type Option[T any] struct {
	Some  bool
	Value T
}

// Or is the value, or another one where it is missing.
func (o Option[T]) Or(other T) T {
	if o.Some {
		return o.Value
	}
	return other
}

// Tuple2 is a pair.
type Tuple2[A, B any] struct {
	F0 A
	F1 B
}

// Slice is the list where it lies: valid until the call is over.
func (l List[T]) Slice() []T { return unsafe.Slice((*T)(Pointer(l.At)), l.Count) }

// Text copies a string, which outlives the call then.
func Text(s String) string {
	if s.Count == 0 {
		return ""
	}
	return strings.Clone(unsafe.String((*byte)(Pointer(s.At)), s.Count))
}

// Lift turns each element of a list into the SDK's form.
func Lift[T, U any](from List[T], lift func(*T) U) []U {
	if from.Count == 0 {
		return nil
	}
	return lifted(from, lift)
}

// LiftOption is nil for a list that is missing and only for that.
func LiftOption[T, U any](from Option[List[T]], lift func(*T) U) []U {
	if !from.Some {
		return nil
	}
	return lifted(from.Value, lift)
}

func lifted[T, U any](from List[T], lift func(*T) U) []U {
	there := from.Slice()
	made := make([]U, len(there))
	for i := range there {
		made[i] = lift(&there[i])
	}
	return made
}

// Pointer is an address in linear memory.
func Pointer(at uint32) unsafe.Pointer { return unsafe.Pointer(uintptr(at)) }

// Put lays a value where it stays until the call is over.
func Put[T any](value T) uint32 {
	at := Allocate(uint32(unsafe.Sizeof(value)), uint32(unsafe.Alignof(value)))
	*(*T)(Pointer(at)) = value
	return at
}

// PutList does the same with a list.
func PutList[T any](values []T) List[T] {
	if len(values) == 0 {
		return List[T]{At: uint32(unsafe.Alignof(*new(T)))}
	}
	at := Allocate(uint32(len(values))*uint32(unsafe.Sizeof(values[0])), uint32(unsafe.Alignof(values[0])))
	copy(unsafe.Slice((*T)(Pointer(at)), len(values)), values)
	return List[T]{At: at, Count: uint32(len(values))}
}

// PutText does the same with a string.
func PutText(text string) String { return PutList([]byte(text)) }

// The size of a block. A larger value gets one of its own.
const blockBytes = 64 << 10

// The collector neither moves them nor takes them away while they stand here. Words, so that they are aligned for everything.
var (
	blocks [][]uint64
	used   uint32
)

// Allocate gives memory that stays until Release.
func Allocate(size, align uint32) uint32 {
	if size == 0 {
		return align
	}
	at := (used + align - 1) &^ (align - 1)
	if len(blocks) == 0 || uint64(at)+uint64(size) > uint64(len(blocks[len(blocks)-1]))*8 {
		blocks = append(blocks, make([]uint64, max(blockBytes, (uint64(size)+7)&^7)/8))
		at = 0
	}
	used = at + size
	return uint32(uintptr(unsafe.Pointer(&blocks[len(blocks)-1][0]))) + at
}

// Release ends a call: what it was handed and what it answered is gone.
func Release() {
	if len(blocks) > 1 {
		clear(blocks[1:])
		blocks = blocks[:1]
	}
	used = 0
}

// How the host asks for memory to put arguments into, and the bytes that an import answers.
//
//go:wasmexport cabi_realloc
func realloc(old, oldSize, align, size uint32) uint32 {
	at := Allocate(size, align)
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(Pointer(at)), size), unsafe.Slice((*byte)(Pointer(old)), oldSize))
	}
	return at
}
