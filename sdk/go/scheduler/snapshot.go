package scheduler

import (
	"encoding/binary"

	"pintle.dev/sdk/env"
)

// Snapshot is for tests: nodes and pods in, decisions out, without a cluster.
//
//	nodes := scheduler.NewSnapshot(scheduler.NewNode("a", 2000, 4<<30), scheduler.NewNode("b", 500, 4<<30))
//	if on := nodes.Place(scheduler.NewPod("p", 1000, 0)); on != "a" { t.Error(on) }
type Snapshot struct {
	loop  loop
	start int
}

// Decision is where a pod would go and why.
type Decision struct {
	// Empty: it fits nowhere.
	Node string
	// Of the nodes that fit and were looked at.
	Scores map[string]float64
	// Message and number of nodes, where none fits.
	Reasons map[string]int
}

// Upstream's rule, which the host uses: below so many nodes every one is looked at, above a share that shrinks.
const lookAtAll = 100

// NewSnapshot is a cluster of these nodes under the policy that Use was called with.
func NewSnapshot(nodes ...*Node) *Snapshot {
	s := &Snapshot{loop: loop{policy: &used, cluster: newCluster()}}
	for id, node := range nodes {
		node.ID = uint32(id)
		s.loop.cluster.upsertNode(node)
	}
	return s
}

// NewNode is a node of that size with a label of its name. Fill in what else a test needs.
func NewNode(name string, milliCPU, memory int64) *Node {
	return &Node{
		Name:        name,
		Labels:      map[string]string{"kubernetes.io/hostname": name},
		Annotations: map[string]string{},
		Allocatable: Resources{MilliCPU: milliCPU, Memory: memory, Extended: map[string]int64{}},
		MaxPods:     110,
	}
}

// NewPod is a pod of the namespace `default` that requests so much. Fill in what else a test needs.
func NewPod(name string, milliCPU, memory int64) *Pod {
	return &Pod{
		UID:         name,
		Namespace:   "default",
		Name:        name,
		Labels:      map[string]string{},
		Annotations: map[string]string{},
		MayPreempt:  true,
		Requests:    Resources{MilliCPU: milliCPU, Memory: memory, Extended: map[string]int64{}},
	}
}

// Configure hands `spec.config` to the policy.
func (s *Snapshot) Configure(config string) error { return s.loop.policy.configure(config) }

// Decide says where the pod would go. It is not placed.
func (s *Snapshot) Decide(pod *Pod) Decision {
	count := len(s.loop.cluster.nodes)
	limit := 0
	if count > lookAtAll {
		limit = max(count*max(50-count/125, 5)/100, lookAtAll)
	}
	found := s.loop.decide(pod, s.start, limit, count, binary.LittleEndian.Uint64(env.Random(8)))
	s.start = found.nextStart
	told := found.told()
	if len(found.ranked) > 0 {
		told.Node = found.ranked[0].node.Name
		told.Reasons = nil
	}
	return told
}

// Place decides and places the pod; gives the node's name.
func (s *Snapshot) Place(pod *Pod) string {
	on := s.Decide(pod).Node
	if on != "" {
		s.loop.assume(pod.UID, s.Node(on).ID)
	}
	return on
}

// Add is a pod that runs there already.
func (s *Snapshot) Add(pod *Pod, on string) { s.loop.cluster.place(pod, s.Node(on).ID) }

// Remove takes a pod away.
func (s *Snapshot) Remove(pod *Pod) { s.loop.cluster.forget(pod.UID) }

// Rank asks as an extender in a profile is asked: scores of those of the named nodes that pass, and the reasons of the others.
func (s *Snapshot) Rank(pod *Pod, names ...string) Decision {
	var ids []uint32
	for _, name := range names {
		ids = append(ids, s.Node(name).ID)
	}
	return s.loop.rank(pod, ids).told()
}

// Node is the node of that name; a test that names another has a fault.
func (s *Snapshot) Node(name string) *Node {
	for _, node := range s.loop.cluster.nodes {
		if node.Name == name {
			return node
		}
	}
	panic("there is no node " + name)
}

func (d *decision) told() Decision {
	told := Decision{Scores: map[string]float64{}, Reasons: map[string]int{}}
	for _, r := range d.ranked {
		told.Scores[r.node.Name] = r.score
	}
	for _, why := range d.reasons {
		told.Reasons[why.message] += int(d.counts[why])
	}
	return told
}
