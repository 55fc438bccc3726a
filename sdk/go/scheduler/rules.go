package scheduler

// Why a node is refused: the filter's name and its words, which are upstream's, and whether evicting pods could help.
type refusal struct {
	filter, message string
	resolvable      bool
}

var (
	unschedulable = refusal{"NodeUnschedulable", "node(s) were unschedulable", false}
	tainted       = refusal{"TaintToleration", "node(s) had untolerated taint(s)", false}
	nodeAffinity  = refusal{"NodeAffinity", "node(s) didn't match Pod's node affinity/selector", false}
	portsTaken    = refusal{"NodePorts", "node(s) didn't have free ports for the requested pod ports", true}
	tooManyPods   = refusal{"NodeResourcesFit", "Too many pods", true}
	volumeNode    = VolumeReason{"VolumeBinding", "node(s) didn't match PersistentVolume's node affinity"}
)

func insufficient(resource string) refusal {
	return refusal{"NodeResourcesFit", "Insufficient " + resource, true}
}

// rules are the filters that every pod is owed, for one pod and one decision. What neither pod nor cluster has is not looked at.
type rules struct {
	pod                    *Pod
	toleratesUnschedulable bool
	affinity               *affinityRule
	spread                 *spreadRule
}

func rulesFor(c *cluster, pod *Pod) *rules {
	r := &rules{pod: pod, toleratesUnschedulable: pod.tolerates("node.kubernetes.io/unschedulable", "", NoSchedule)}
	if len(pod.RequiredAffinity) > 0 || len(pod.RequiredAntiAffinity) > 0 || len(c.refusing) > 0 {
		r.affinity = newAffinityRule(c, pod)
	}
	r.spread = newSpreadRule(c, pod)
	return r
}

// Empty when the pod can run there. The first filter that refuses counts; of resources, each that is short.
func (r *rules) refusals(node *Node) []refusal {
	switch {
	case node.Unschedulable && !r.toleratesUnschedulable:
		return []refusal{unschedulable}
	case !toleratesTaints(r.pod, node):
		return []refusal{tainted}
	case !matchesNode(r.pod, node):
		return []refusal{nodeAffinity}
	}
	if short := lacks(r.pod, node); short != nil {
		return short
	}
	if !portsFree(r.pod, node) {
		return []refusal{portsTaken}
	}
	for i, terms := range r.pod.VolumeNodes {
		if !anyMatches(terms, node) {
			why := volumeNode
			if i < len(r.pod.VolumeReasons) {
				why = r.pod.VolumeReasons[i]
			}
			return []refusal{{why.Filter, why.Message, false}}
		}
	}
	if r.spread != nil {
		if why := r.spread.refusal(node); why != nil {
			return []refusal{*why}
		}
	}
	if r.affinity != nil {
		if why := r.affinity.refusal(node); why != nil {
			return []refusal{*why}
		}
	}
	return nil
}

func toleratesTaints(pod *Pod, node *Node) bool {
	for _, taint := range node.Taints {
		if taint.Effect != PreferNoSchedule && !pod.tolerates(taint.Key, taint.Value, taint.Effect) {
			return false
		}
	}
	return true
}

// Node selector and required node affinity.
func matchesNode(pod *Pod, node *Node) bool {
	for key, value := range pod.NodeSelector {
		if found, there := node.Labels[key]; !there || found != value {
			return false
		}
	}
	return pod.RequiredNodes == nil || anyMatches(pod.RequiredNodes, node)
}

// A resource that is not asked for is not looked at: a full node still takes a pod that wants none of it.
func lacks(pod *Pod, node *Node) (short []refusal) {
	wants, has, used := &pod.Requests, &node.Allocatable, &node.Used
	if len(node.Pods) >= int(node.MaxPods) {
		short = append(short, tooManyPods)
	}
	if wants.MilliCPU > 0 && used.MilliCPU+wants.MilliCPU > has.MilliCPU {
		short = append(short, insufficient("cpu"))
	}
	if wants.Memory > 0 && used.Memory+wants.Memory > has.Memory {
		short = append(short, insufficient("memory"))
	}
	if wants.EphemeralStorage > 0 && used.EphemeralStorage+wants.EphemeralStorage > has.EphemeralStorage {
		short = append(short, insufficient("ephemeral-storage"))
	}
	for _, name := range sortedKeys(wants.Extended) {
		if amount := wants.Extended[name]; amount > 0 && used.Extended[name]+amount > has.Extended[name] {
			short = append(short, insufficient(name))
		}
	}
	return short
}

func portsFree(pod *Pod, node *Node) bool {
	for i := range pod.HostPorts {
		for _, other := range node.Pods {
			for j := range other.HostPorts {
				if pod.HostPorts[i].collides(&other.HostPorts[j]) {
					return false
				}
			}
		}
	}
	return true
}
