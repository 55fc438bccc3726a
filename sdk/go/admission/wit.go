// Code generated from wit/admission by the tests of host/src/cli/plugin/lang/go.rs. DO NOT EDIT.

//go:build wasip1

package admission

import (
	"unsafe"

	"pintle.dev/sdk/internal/abi"
)

type witResourceId struct {
	group   abi.String
	version abi.String
	name    abi.String
}

var _ = [1]struct{}{}[unsafe.Sizeof(witResourceId{})-24]

type witPair struct {
	key   abi.String
	value abi.String
}

var _ = [1]struct{}{}[unsafe.Sizeof(witPair{})-16]

const (
	witOperationCreate = iota
	witOperationUpdate
	witOperationDelete
	witOperationConnect
)

const (
	witPhaseMutate = iota
	witPhaseValidate
)

const (
	witScopeAny = iota
	witScopeCluster
	witScopeNamespaced
)

type witRule struct {
	phases      abi.List[uint8]
	operations  abi.List[uint8]
	apiGroups   abi.List[abi.String]
	apiVersions abi.List[abi.String]
	resources   abi.List[abi.String]
	scope       uint8
}

var _ = [1]struct{}{}[unsafe.Sizeof(witRule{})-44]

type witKindId struct {
	group   abi.String
	version abi.String
	kind    abi.String
}

var _ = [1]struct{}{}[unsafe.Sizeof(witKindId{})-24]

type witUserInfo struct {
	username abi.String
	uid      abi.String
	groups   abi.List[abi.String]
	extra    abi.List[abi.Tuple2[abi.String, abi.List[abi.String]]]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witUserInfo{})-32]

type witRequest struct {
	phase           uint8
	operation       uint8
	kind            witKindId
	resource        witResourceId
	subresource     abi.String
	requestKind     witKindId
	requestResource witResourceId
	name            abi.String
	namespace       abi.String
	user            witUserInfo
	object          abi.List[uint8]
	oldObject       abi.List[uint8]
	dryRun          bool
	options         abi.List[uint8]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witRequest{})-184]

type witRefusal struct {
	code    uint16
	reason  abi.String
	message abi.String
}

var _ = [1]struct{}{}[unsafe.Sizeof(witRefusal{})-20]

const (
	witChangeNone = iota
	witChangePatch
	witChangeObject
)

type witChange struct {
	tag   uint8
	value abi.List[uint8]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witChange{})-12]

type witResponse struct {
	refusal          abi.Option[witRefusal]
	change           witChange
	warnings         abi.List[abi.String]
	auditAnnotations abi.List[witPair]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witResponse{})-52]

type witOwner struct {
	apiVersion abi.String
	kind       abi.String
	name       abi.String
	uid        abi.String
}

var _ = [1]struct{}{}[unsafe.Sizeof(witOwner{})-32]

type witSummary struct {
	namespace  abi.String
	name       abi.String
	uid        abi.String
	revision   uint64
	labels     abi.List[witPair]
	controller abi.Option[witOwner]
	created    int64
	deleting   bool
	phase      abi.String
	ready      bool
	node       abi.String
}

var _ = [1]struct{}{}[unsafe.Sizeof(witSummary{})-112]

const (
	witReadErrorNotFound = iota
	witReadErrorForbidden
	witReadErrorInvalid
	witReadErrorUnavailable
)

type witReadError struct {
	tag   uint8
	value abi.String
}

var _ = [1]struct{}{}[unsafe.Sizeof(witReadError{})-12]

type witQuery struct {
	resource      witResourceId
	namespace     abi.String
	labelSelector abi.String
	fieldSelector abi.String
}

var _ = [1]struct{}{}[unsafe.Sizeof(witQuery{})-48]
