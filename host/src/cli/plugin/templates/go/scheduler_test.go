package main

import (
	"testing"

	"pintle.dev/sdk/scheduler"
)

func TestPodsSpreadUntilNodesAreFull(t *testing.T) {
	nodes := scheduler.NewSnapshot(scheduler.NewNode("a", 1000, 1<<30), scheduler.NewNode("b", 500, 1<<30))
	first := nodes.Place(scheduler.NewPod("pod-0", 500, 0))
	second := nodes.Place(scheduler.NewPod("pod-1", 500, 0))
	if first == "" || second == "" || first == second {
		t.Errorf("the first two are on %q and %q", first, second)
	}
	if third := nodes.Place(scheduler.NewPod("pod-2", 500, 0)); third != "a" {
		t.Errorf("the third is on %q", third)
	}
	none := nodes.Decide(scheduler.NewPod("pod-3", 500, 0))
	if none.Node != "" || none.Reasons["Insufficient cpu"] != 2 {
		t.Errorf("the fourth: %+v", none)
	}
}
