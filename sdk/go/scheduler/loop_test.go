package scheduler

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestEachOfTheBestIsAsLikelyAndTheSeedSaysWhich(t *testing.T) {
	evens := loop{policy: &Policy{Score: func(_ *Pod, node *Node) float64 { return float64(node.ID % 2) }}, cluster: newCluster()}
	for id := range uint32(8) {
		evens.cluster.upsertNode(&Node{ID: id, Name: fmt.Sprint(id), MaxPods: 10})
	}
	chosen := func(seed uint64) uint32 { return evens.decide(NewPod("p", 0, 0), 0, 0, 1, seed).ranked[0].node.ID }
	drawn := rand.New(rand.NewPCG(1, 2))
	counts := map[uint32]int{}
	for range 4000 {
		seed := drawn.Uint64()
		first := chosen(seed)
		counts[first]++
		if again := chosen(seed); again != first {
			t.Fatalf("seed %d chose %d, then %d", seed, first, again)
		}
	}
	for _, id := range []uint32{1, 3, 5, 7} {
		if counts[id] < 900 || counts[id] > 1100 {
			t.Errorf("%d was chosen %d times of 4000", id, counts[id])
		}
	}
}

func TestWhatIsAssumedOfTheLastPodIsPlacedAndOfNoOther(t *testing.T) {
	nodes := NewSnapshot(NewNode("a", 1000, gib), NewNode("b", 1000, gib))
	l := &nodes.loop
	l.assume("p", 1)
	nodes.Decide(NewPod("o", 0, 0))
	nodes.Decide(NewPod("p", 400, 0))
	l.assume("o", 1)
	if len(l.cluster.placed) != 0 {
		t.Errorf("%v", l.cluster.placed)
	}
	l.assume("p", 1)
	if on := l.cluster.placed["p"].at; on != 1 || nodes.Node("b").Used.MilliCPU != 400 {
		t.Errorf("on %d, and b has %+v", on, nodes.Node("b").Used)
	}
	l.cluster.forget("p")
	l.assume("p", 1)
	if len(l.cluster.placed) != 0 {
		t.Error("it was placed twice")
	}
}
