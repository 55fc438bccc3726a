//go:build wasip1

package scheduler

import (
	"math"
	"unsafe"

	"pintle.dev/sdk/internal/abi"
)

// The exports of the scheduler world, under the names and flat types that the canonical ABI gives them. What has more than 16 of these comes
// as an address; so does every answer.

var running = loop{policy: &used, cluster: newCluster()}

//go:wasmexport configure
func exportConfigure(at, count uint32) uint32 {
	var answer struct {
		failed bool
		why    abi.String
	}
	if err := used.configure(abi.Text(abi.String{At: at, Count: count})); err != nil {
		answer.failed, answer.why = true, abi.PutText(err.Error())
	}
	return abi.Put(answer)
}

//go:wasmexport cabi_post_configure
func doneConfigure(uint32) { abi.Release() }

//go:wasmexport reset
func exportReset() { running.cluster, running.asked = newCluster(), nil }

//go:wasmexport feed
func exportFeed(at, count uint32) {
	deltas := abi.List[witDelta]{At: at, Count: count}.Slice()
	for i := range deltas {
		running.apply(&deltas[i])
	}
	abi.Release()
}

func (l *loop) apply(delta *witDelta) {
	c := l.cluster
	value := unsafe.Pointer(&delta.value)
	switch delta.tag {
	case witDeltaUpsertNode:
		c.upsertNode(liftNode((*witNode)(value)))
	case witDeltaRemoveNode:
		c.removeNode(*(*uint32)(value))
	case witDeltaPlace:
		placed := (*witPlacement)(value)
		c.place(liftPod(&placed.pod), placed.node)
	case witDeltaAssume:
		assumed := (*witAssumption)(value)
		l.assume(abi.Text(assumed.uid), assumed.node)
	case witDeltaForget:
		c.forget(abi.Text(*(*abi.String)(value)))
	case witDeltaUpsertNamespace:
		namespace := (*witNamespace)(value)
		c.namespaces[abi.Text(namespace.name)] = pairs(namespace.labels)
	case witDeltaRemoveNamespace:
		delete(c.namespaces, abi.Text(*(*abi.String)(value)))
	}
	// Disruption budgets and nominations matter to preemption alone.
}

//go:wasmexport schedule
func exportSchedule(at uint32) uint32 {
	asked := (*struct {
		pod   witPod
		scope witScope
	})(abi.Pointer(at))
	scope := &asked.scope
	found := running.decide(liftPod(&asked.pod), int(scope.start), int(scope.limit), int(scope.top), scope.seed)
	var answer struct {
		failed  bool
		outcome witOutcome
	}
	if len(found.ranked) > 0 {
		answer.outcome.tag = witOutcomeFits
		answer.outcome.value = witChoice{lowerScores(found.ranked), uint32(found.feasible), uint32(found.lookedAt), uint32(found.nextStart)}
	} else {
		answer.outcome.tag = witOutcomeNone
		*(*abi.List[witRejection])(unsafe.Pointer(&answer.outcome.value)) = lowerReasons(found)
	}
	return abi.Put(answer)
}

//go:wasmexport cabi_post_schedule
func doneSchedule(uint32) { abi.Release() }

//go:wasmexport rank
func exportRank(at uint32) uint32 {
	asked := (*struct {
		pod   witPod
		nodes abi.List[uint32]
	})(abi.Pointer(at))
	found := running.rank(liftPod(&asked.pod), asked.nodes.Slice())
	return abi.Put(struct {
		failed  bool
		ranking witRanking
	}{ranking: witRanking{lowerScores(found.ranked), lowerReasons(found)}})
}

//go:wasmexport cabi_post_rank
func doneRank(uint32) { abi.Release() }

// Nobody is evicted.
//
//go:wasmexport preempt
func exportPreempt(uint32) uint32 {
	var answer struct {
		failed  bool
		attempt witAttempt
	}
	answer.attempt.tag = witAttemptNone
	return abi.Put(answer)
}

//go:wasmexport cabi_post_preempt
func donePreempt(uint32) { abi.Release() }

//go:wasmexport explain
func exportExplain(at uint32) uint32 {
	asked := (*struct {
		pod  witPod
		node uint32
	})(abi.Pointer(at))
	var lines []witReason
	if node := running.cluster.nodes[asked.node]; node != nil {
		lines = explain(liftPod(&asked.pod), node)
	}
	return abi.Put(abi.PutList(lines))
}

//go:wasmexport cabi_post_explain
func doneExplain(uint32) { abi.Release() }

func explain(pod *Pod, node *Node) (lines []witReason) {
	for _, why := range running.refusals(rulesFor(running.cluster, pod), node) {
		said := abi.Option[abi.String]{Some: true, Value: abi.PutText(why.message)}
		lines = append(lines, witReason{stage: abi.PutText("Filter"), criterion: abi.PutText(why.filter), rejected: said})
	}
	if lines != nil {
		return lines
	}
	score := abi.Option[int64]{Some: true, Value: rounded(running.policy.score(pod, node))}
	return []witReason{
		{stage: abi.PutText("Filter"), criterion: abi.PutText(criterion)},
		{stage: abi.PutText("Score"), criterion: abi.PutText(criterion), score: score},
	}
}

func lowerScores(ranked []scored) abi.List[witRanked] {
	lowered := make([]witRanked, len(ranked))
	for i, r := range ranked {
		lowered[i] = witRanked{r.node.ID, rounded(r.score)}
	}
	return abi.PutList(lowered)
}

func lowerReasons(found *decision) abi.List[witRejection] {
	lowered := make([]witRejection, len(found.reasons))
	for i, why := range found.reasons {
		lowered[i] = witRejection{abi.PutText(why.filter), abi.PutText(why.message), found.counts[why], why.resolvable}
	}
	return abi.PutList(lowered)
}

func rounded(score float64) int64 { return int64(math.Round(score)) }
