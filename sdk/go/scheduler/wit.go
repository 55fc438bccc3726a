// Code generated from wit/scheduler by the tests of host/src/cli/plugin/lang/go.rs. DO NOT EDIT.

//go:build wasip1

package scheduler

import (
	"unsafe"

	"pintle.dev/sdk/internal/abi"
)

type witPair struct {
	key   abi.String
	value abi.String
}

var _ = [1]struct{}{}[unsafe.Sizeof(witPair{})-16]

type witResources struct {
	milliCpu         int64
	memory           int64
	ephemeralStorage int64
	extended         abi.List[abi.Tuple2[abi.String, int64]]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witResources{})-32]

const (
	witEffectNoSchedule = iota
	witEffectPreferNoSchedule
	witEffectNoExecute
)

type witTaint struct {
	key    abi.String
	value  abi.String
	effect uint8
}

var _ = [1]struct{}{}[unsafe.Sizeof(witTaint{})-20]

type witToleration struct {
	key    abi.String
	exists bool
	value  abi.String
	effect abi.Option[uint8]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witToleration{})-24]

const (
	witOperatorIn = iota
	witOperatorNotIn
	witOperatorExists
	witOperatorDoesNotExist
	witOperatorGt
	witOperatorLt
)

type witRequirement struct {
	key      abi.String
	operator uint8
	values   abi.List[abi.String]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witRequirement{})-20]

type witNodeSelectorTerm struct {
	labels abi.List[witRequirement]
	fields abi.List[witRequirement]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witNodeSelectorTerm{})-16]

type witPreferredNodeTerm struct {
	weight int32
	term   witNodeSelectorTerm
}

var _ = [1]struct{}{}[unsafe.Sizeof(witPreferredNodeTerm{})-20]

type witPodAffinityTerm struct {
	selector          abi.Option[abi.List[witRequirement]]
	namespaces        abi.List[abi.String]
	namespaceSelector abi.Option[abi.List[witRequirement]]
	topologyKey       abi.String
}

var _ = [1]struct{}{}[unsafe.Sizeof(witPodAffinityTerm{})-40]

type witPreferredPodTerm struct {
	weight int32
	term   witPodAffinityTerm
}

var _ = [1]struct{}{}[unsafe.Sizeof(witPreferredPodTerm{})-44]

const (
	witUnsatisfiableDoNotSchedule = iota
	witUnsatisfiableScheduleAnyway
)

type witSpreadConstraint struct {
	maxSkew           int32
	topologyKey       abi.String
	whenUnsatisfiable uint8
	selector          abi.Option[abi.List[witRequirement]]
	minDomains        abi.Option[int32]
	honorNodeAffinity bool
	honorNodeTaints   bool
}

var _ = [1]struct{}{}[unsafe.Sizeof(witSpreadConstraint{})-40]

type witHostPort struct {
	ip       abi.String
	protocol abi.String
	port     uint16
}

var _ = [1]struct{}{}[unsafe.Sizeof(witHostPort{})-20]

type witImage struct {
	names     abi.List[abi.String]
	sizeBytes uint64
}

var _ = [1]struct{}{}[unsafe.Sizeof(witImage{})-16]

type witNode struct {
	id            uint32
	name          abi.String
	labels        abi.List[witPair]
	annotations   abi.List[witPair]
	taints        abi.List[witTaint]
	unschedulable bool
	allocatable   witResources
	maxPods       uint32
	images        abi.List[witImage]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witNode{})-88]

type witNodeAffinity struct {
	selector  abi.List[witPair]
	required  abi.Option[abi.List[witNodeSelectorTerm]]
	preferred abi.List[witPreferredNodeTerm]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witNodeAffinity{})-28]

type witPodAffinity struct {
	required      abi.List[witPodAffinityTerm]
	preferred     abi.List[witPreferredPodTerm]
	requiredAnti  abi.List[witPodAffinityTerm]
	preferredAnti abi.List[witPreferredPodTerm]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witPodAffinity{})-32]

type witSpread struct {
	constraints abi.List[witSpreadConstraint]
	byDefault   bool
}

var _ = [1]struct{}{}[unsafe.Sizeof(witSpread{})-12]

type witVolumeReason struct {
	filter  abi.String
	message abi.String
}

var _ = [1]struct{}{}[unsafe.Sizeof(witVolumeReason{})-16]

type witVolumeUse struct {
	nodes           abi.List[abi.List[witNodeSelectorTerm]]
	reasons         abi.List[witVolumeReason]
	claims          abi.List[abi.String]
	exclusiveClaims abi.List[abi.String]
	images          abi.List[abi.String]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witVolumeUse{})-40]

type witConstraints struct {
	nodes     abi.Option[witNodeAffinity]
	pods      abi.Option[witPodAffinity]
	volumes   abi.Option[witVolumeUse]
	spread    abi.Option[witSpread]
	hostPorts abi.List[witHostPort]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witConstraints{})-136]

type witPod struct {
	uid            abi.String
	namespace      abi.String
	name           abi.String
	labels         abi.List[witPair]
	annotations    abi.List[witPair]
	priority       int32
	mayPreempt     bool
	requests       witResources
	scoredMilliCpu int64
	scoredMemory   int64
	tolerations    abi.List[witToleration]
	images         abi.List[abi.String]
	constraints    abi.Option[witConstraints]
	nominated      abi.Option[uint32]
	started        int64
	deleting       bool
}

var _ = [1]struct{}{}[unsafe.Sizeof(witPod{})-280]

type witPlacement struct {
	pod  witPod
	node uint32
}

var _ = [1]struct{}{}[unsafe.Sizeof(witPlacement{})-288]

type witNamespace struct {
	name   abi.String
	labels abi.List[witPair]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witNamespace{})-16]

type witBudget struct {
	namespace abi.String
	name      abi.String
	selector  abi.Option[abi.List[witRequirement]]
	allowed   int32
	disrupted abi.List[abi.String]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witBudget{})-40]

type witAssumption struct {
	uid  abi.String
	node uint32
}

var _ = [1]struct{}{}[unsafe.Sizeof(witAssumption{})-12]

const (
	witDeltaUpsertNode = iota
	witDeltaRemoveNode
	witDeltaPlace
	witDeltaAssume
	witDeltaForget
	witDeltaUpsertNamespace
	witDeltaRemoveNamespace
	witDeltaBudgets
	witDeltaNominate
	witDeltaWithdraw
)

type witDelta struct {
	tag   uint8
	value witPlacement
}

var _ = [1]struct{}{}[unsafe.Sizeof(witDelta{})-296]

type witScope struct {
	start uint32
	limit uint32
	top   uint32
	seed  uint64
}

var _ = [1]struct{}{}[unsafe.Sizeof(witScope{})-24]

type witRanked struct {
	node  uint32
	score int64
}

var _ = [1]struct{}{}[unsafe.Sizeof(witRanked{})-16]

type witRejection struct {
	filter     abi.String
	message    abi.String
	nodes      uint32
	resolvable bool
}

var _ = [1]struct{}{}[unsafe.Sizeof(witRejection{})-24]

type witChoice struct {
	ranked    abi.List[witRanked]
	feasible  uint32
	lookedAt  uint32
	nextStart uint32
}

var _ = [1]struct{}{}[unsafe.Sizeof(witChoice{})-20]

const (
	witOutcomeFits = iota
	witOutcomeNone
)

type witOutcome struct {
	tag   uint8
	value witChoice
}

var _ = [1]struct{}{}[unsafe.Sizeof(witOutcome{})-24]

type witPreemption struct {
	node    uint32
	victims abi.List[abi.String]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witPreemption{})-12]

type witRanking struct {
	ranked     abi.List[witRanked]
	rejections abi.List[witRejection]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witRanking{})-16]

const (
	witAttemptEvict = iota
	witAttemptNone
)

type witAttempt struct {
	tag   uint8
	value witPreemption
}

var _ = [1]struct{}{}[unsafe.Sizeof(witAttempt{})-16]

type witReason struct {
	stage     abi.String
	criterion abi.String
	rejected  abi.Option[abi.String]
	score     abi.Option[int64]
}

var _ = [1]struct{}{}[unsafe.Sizeof(witReason{})-48]
