package scheduler

import (
	"fmt"
	"maps"
	"testing"
)

// The filters and the loop behind a policy that says little itself: it prefers nodes with few pods.
func init() {
	Use(Policy{Score: func(_ *Pod, node *Node) float64 { return 100 - float64(len(node.Pods)) }})
}

const gib = 1 << 30

func labelled(name, key, value string) *Node {
	node := NewNode(name, 4000, 16*gib)
	node.Labels[key] = value
	return node
}

func zones() *Snapshot {
	return NewSnapshot(labelled("a", "zone", "z1"), labelled("b", "zone", "z1"), labelled("c", "zone", "z2"))
}

func only(key string, operator Operator, values ...string) []Requirement {
	return []Requirement{{key, operator, values}}
}

func near(app, topologyKey string) []PodTerm {
	return []PodTerm{{TopologyKey: topologyKey, Selector: only("app", In, app), Namespaces: []string{"default"}}}
}

func app(name, label string) *Pod {
	pod := NewPod(name, 100, 1<<20)
	pod.Labels["app"] = label
	return pod
}

func expectNode(t *testing.T, found, expected string) {
	t.Helper()
	if found != expected {
		t.Errorf("on %q, not on %q", found, expected)
	}
}

func expectReasons(t *testing.T, found Decision, expected map[string]int) {
	t.Helper()
	if found.Node != "" || !maps.Equal(found.Reasons, expected) {
		t.Errorf("on %q, for %v, not %v", found.Node, found.Reasons, expected)
	}
}

func TestResourcesCountWithWhatWasPlaced(t *testing.T) {
	nodes := NewSnapshot(NewNode("a", 1000, gib), NewNode("b", 500, gib))
	for i := range 3 {
		if nodes.Place(NewPod(fmt.Sprint(i), 500, 0)) == "" {
			t.Error("there is room")
		}
	}
	expectReasons(t, nodes.Decide(NewPod("p", 500, 0)), map[string]int{"Insufficient cpu": 2})
	expectReasons(t, nodes.Decide(NewPod("large", 600, 2*gib)), map[string]int{"Insufficient cpu": 2, "Insufficient memory": 2})
	if nodes.Decide(NewPod("nothing", 0, 0)).Node == "" {
		t.Error("a pod that asks for nothing fits")
	}
	nodes.Remove(NewPod("0", 500, 0))
	if nodes.Decide(NewPod("p", 500, 0)).Node == "" {
		t.Error("there is room again")
	}
}

func TestThereAreOnlySoManyPodsAndExtendedResources(t *testing.T) {
	node := NewNode("a", 1000, gib)
	node.MaxPods = 2
	node.Allocatable.Extended["nvidia.com/gpu"] = 1
	nodes := NewSnapshot(node)
	gpu := func(name string) *Pod {
		pod := NewPod(name, 0, 0)
		pod.Requests.Extended["nvidia.com/gpu"] = 1
		return pod
	}
	expectNode(t, nodes.Place(gpu("1")), "a")
	expectReasons(t, nodes.Decide(gpu("2")), map[string]int{"Insufficient nvidia.com/gpu": 1})
	expectNode(t, nodes.Place(NewPod("p1", 0, 0)), "a")
	expectReasons(t, nodes.Decide(NewPod("p2", 0, 0)), map[string]int{"Too many pods": 1})
}

func TestAPodThatIsPlacedAgainMoves(t *testing.T) {
	nodes := NewSnapshot(NewNode("a", 1000, gib), NewNode("b", 1000, gib))
	nodes.Add(NewPod("x", 1000, 0), "a")
	nodes.Add(NewPod("x", 1000, 0), "b")
	expectNode(t, nodes.Decide(NewPod("p", 1000, 0)).Node, "a")
}

func TestAPodMayComeBeforeItsNode(t *testing.T) {
	nodes := NewSnapshot(NewNode("a", 1000, gib))
	nodes.loop.cluster.place(NewPod("x", 1000, 0), 1)
	late := NewNode("late", 1000, gib)
	late.ID = 1
	nodes.loop.cluster.upsertNode(late)
	expectNode(t, nodes.Decide(NewPod("p", 1000, 0)).Node, "a")
	again := NewNode("late", 2000, gib)
	again.ID = 1
	nodes.loop.cluster.upsertNode(again)
	expectNode(t, nodes.Decide(NewPod("p", 1001, 0)).Node, "")
}

func TestCordonsAndTaints(t *testing.T) {
	cordoned, tainted := NewNode("a", 1000, gib), NewNode("b", 1000, gib)
	cordoned.Unschedulable = true
	tainted.Taints = []Taint{{"dedicated", "x", NoSchedule}, {"soft", "", PreferNoSchedule}}
	nodes := NewSnapshot(cordoned, tainted)
	reasons := map[string]int{"node(s) were unschedulable": 1, "node(s) had untolerated taint(s)": 1}
	expectReasons(t, nodes.Decide(NewPod("p", 0, 0)), reasons)
	tolerant := NewPod("tolerant", 0, 0)
	tolerant.Tolerations = []Toleration{{Key: "dedicated", Value: "x", Effect: EveryEffect}}
	expectNode(t, nodes.Decide(tolerant).Node, "b")
	everywhere := NewPod("everywhere", 0, 0)
	everywhere.Tolerations = []Toleration{{Exists: true, Effect: EveryEffect}}
	if len(nodes.Decide(everywhere).Scores) != 2 {
		t.Error("it tolerates everything")
	}
}

func TestSelectorsAndNodeAffinity(t *testing.T) {
	nodes := NewSnapshot(labelled("a", "gen", "3"), labelled("b", "gen", "5"))
	selects := NewPod("selects", 0, 0)
	selects.NodeSelector = map[string]string{"gen": "5"}
	expectNode(t, nodes.Decide(selects).Node, "b")
	affine := func(terms ...NodeTerm) *Pod {
		pod := NewPod("affine", 0, 0)
		pod.RequiredNodes = append([]NodeTerm{}, terms...)
		return pod
	}
	expectNode(t, nodes.Decide(affine(NodeTerm{Labels: only("gen", Gt, "4")})).Node, "b")
	expectNode(t, nodes.Decide(affine(NodeTerm{Fields: only("metadata.name", In, "a")})).Node, "a")
	expectNode(t, nodes.Decide(affine(NodeTerm{}, NodeTerm{Labels: only("gen", NotIn, "3")})).Node, "b")
	expectReasons(t, nodes.Decide(affine()), map[string]int{"node(s) didn't match Pod's node affinity/selector": 2})
}

func TestHostPorts(t *testing.T) {
	nodes := NewSnapshot(NewNode("a", 1000, gib))
	for i, port := range []HostPort{{"0.0.0.0", "TCP", 80}, {"10.0.0.1", "TCP", 80}, {"10.0.0.1", "UDP", 80}} {
		pod := NewPod(fmt.Sprint(i), 0, 0)
		pod.HostPorts = []HostPort{port}
		expectNode(t, nodes.Place(pod), map[int]string{0: "a", 2: "a"}[i])
	}
}

func TestVolumesSayWhy(t *testing.T) {
	nodes := NewSnapshot(labelled("a", "zone", "z1"))
	pod := NewPod("p", 0, 0)
	pod.VolumeNodes = [][]NodeTerm{{{Labels: only("zone", In, "z1")}}, {{Labels: only("zone", In, "z2")}}}
	expectReasons(t, nodes.Decide(pod), map[string]int{"node(s) didn't match PersistentVolume's node affinity": 1})
	pod.VolumeReasons = []VolumeReason{{"VolumeBinding", "one"}, {"VolumeZone", "two"}}
	expectReasons(t, nodes.Decide(pod), map[string]int{"two": 1})
}

func TestAffinityAndAntiAffinity(t *testing.T) {
	nodes := zones()
	lost := app("web-0", "web")
	lost.RequiredAffinity = near("cache", "zone")
	expectReasons(t, nodes.Decide(lost), map[string]int{"node(s) didn't match pod affinity rules": 3})
	first := app("cache-1", "cache")
	first.RequiredAffinity = near("cache", "zone")
	first.NodeSelector = map[string]string{"kubernetes.io/hostname": "a"}
	expectNode(t, nodes.Place(first), "a")
	away := app("web-1", "web")
	away.RequiredAntiAffinity = near("cache", "zone")
	expectNode(t, nodes.Place(away), "c")
	// The web pod's own rule keeps caches out of its zone.
	unwelcome := app("cache-2", "cache")
	unwelcome.NodeSelector = map[string]string{"zone": "z2"}
	expectReasons(t, nodes.Decide(unwelcome), map[string]int{
		"node(s) didn't match Pod's node affinity/selector":        2,
		"node(s) didn't satisfy existing pods anti-affinity rules": 1,
	})
}

func TestSpread(t *testing.T) {
	nodes := zones()
	inFirstZone := 0
	for i := range 6 {
		pod := app(fmt.Sprint(i), "web")
		pod.Spread = []Spread{{TopologyKey: "zone", MaxSkew: 1, Hard: true, Selector: only("app", In, "web"), HonorNodeAffinity: true}}
		if on := nodes.Place(pod); on == "a" || on == "b" {
			inFirstZone++
		}
	}
	if inFirstZone != 3 {
		t.Errorf("%d in the first zone", inFirstZone)
	}
}

func TestManyNodesAreSampledInTurn(t *testing.T) {
	var all []*Node
	for i := range 300 {
		all = append(all, NewNode(fmt.Sprint(i), 1000, gib))
	}
	nodes := NewSnapshot(all...)
	// Each decision looks at 144 of them, beginning where the last one ended: an empty node is always among those.
	seen := map[string]bool{}
	for i := range 200 {
		found := nodes.Decide(NewPod(fmt.Sprint(i), 1, 0))
		if len(found.Scores) != 144 {
			t.Fatalf("%d were scored", len(found.Scores))
		}
		nodes.Add(NewPod(fmt.Sprint(i), 1, 0), found.Node)
		seen[found.Node] = true
	}
	if len(seen) != 200 {
		t.Errorf("%d nodes were used", len(seen))
	}
}

func TestAnExtenderIsAskedAboutSomeNodes(t *testing.T) {
	nodes := NewSnapshot(NewNode("a", 1000, gib), NewNode("b", 100, gib), NewNode("c", 1000, gib))
	nodes.Add(NewPod("x", 1, 0), "c")
	found := nodes.Rank(NewPod("p", 500, 0), "b", "c")
	if !maps.Equal(found.Scores, map[string]float64{"c": 99}) || !maps.Equal(found.Reasons, map[string]int{"Insufficient cpu": 1}) {
		t.Errorf("%+v", found)
	}
}

func TestThePolicyRefusesAndConfigures(t *testing.T) {
	before := used
	defer Use(before)
	Use(Policy{
		Filter:    func(_ *Pod, node *Node) string { return node.Labels["closed"] },
		Configure: func(config string) error { return fmt.Errorf("%q is wrong", config) },
	})
	nodes := NewSnapshot(labelled("a", "closed", "node(s) are closed"), NewNode("b", 1, 1))
	found := nodes.Decide(NewPod("p", 0, 0))
	if found.Node != "b" || found.Scores["b"] != 0 {
		t.Errorf("%+v", found)
	}
	if err := nodes.Configure("x"); err == nil || err.Error() != `"x" is wrong` {
		t.Error(err)
	}
}
