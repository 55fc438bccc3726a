package scheduler

import (
	"cmp"
	"slices"
)

// loop runs a policy over the cluster.
type loop struct {
	policy  *Policy
	cluster *cluster
	// The pod of the last decision, until it is assumed to run somewhere.
	asked *Pod
}

type scored struct {
	node  *Node
	score float64
}

// decision has the best first, with scores; or the reasons, each with its number of nodes.
type decision struct {
	ranked    []scored
	reasons   []refusal
	counts    map[refusal]uint32
	feasible  int
	lookedAt  int
	nextStart int
}

// seed says which of the equally best nodes comes first.
func (l *loop) decide(pod *Pod, start, limit, top int, seed uint64) *decision {
	l.asked = pod
	nodes := l.cluster.ordered()
	rules := rulesFor(l.cluster, pod)
	made := &decision{}
	if len(nodes) == 0 {
		return made
	}
	start %= len(nodes)
	for made.lookedAt < len(nodes) {
		node := nodes[(start+made.lookedAt)%len(nodes)]
		made.lookedAt++
		l.lookAt(made, rules, node)
		if limit > 0 && len(made.ranked) >= limit {
			break
		}
	}
	made.feasible = len(made.ranked)
	made.nextStart = (start + made.lookedAt) % len(nodes)
	made.ranked = best(made.ranked, max(top, 1), seed)
	return made
}

// assume takes the pod of the last decision to run there. Of another pod there is nothing to place.
func (l *loop) assume(uid string, at uint32) {
	if l.asked == nil || l.asked.UID != uid {
		return
	}
	l.cluster.place(l.asked, at)
	l.asked = nil
}

// Of these nodes and no others.
func (l *loop) rank(pod *Pod, ids []uint32) *decision {
	rules := rulesFor(l.cluster, pod)
	made := &decision{}
	for _, id := range ids {
		if node := l.cluster.nodes[id]; node != nil {
			l.lookAt(made, rules, node)
		}
	}
	return made
}

func (l *loop) lookAt(made *decision, rules *rules, node *Node) {
	refusals := l.refusals(rules, node)
	for _, why := range refusals {
		made.reject(why)
	}
	if len(refusals) == 0 {
		made.ranked = append(made.ranked, scored{node, l.policy.score(rules.pod, node)})
	}
}

// The rules' reasons, then the policy's own.
func (l *loop) refusals(rules *rules, node *Node) []refusal {
	if refusals := rules.refusals(node); refusals != nil {
		return refusals
	}
	if message := l.policy.refusal(rules.pod, node); message != "" {
		return []refusal{{criterion, message, false}}
	}
	return nil
}

func (d *decision) reject(why refusal) {
	if d.counts == nil {
		d.counts = map[refusal]uint32{}
	}
	if d.counts[why] == 0 {
		d.reasons = append(d.reasons, why)
	}
	d.counts[why]++
}

// The best of them; which of the equally best comes first is the seed's choice.
func best(ranked []scored, top int, seed uint64) []scored {
	if len(ranked) == 0 {
		return ranked
	}
	// Stable: equal ones stay in the order in which they were looked at.
	slices.SortStableFunc(ranked, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
	equal := 1
	for equal < len(ranked) && ranked[equal].score == ranked[0].score {
		equal++
	}
	drawn := seed % uint64(equal)
	ranked[0], ranked[drawn] = ranked[drawn], ranked[0]
	return ranked[:min(top, len(ranked))]
}

func sortedKeys[V any](from map[string]V) []string {
	if len(from) == 0 {
		return nil
	}
	keys := make([]string, 0, len(from))
	for key := range from {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
