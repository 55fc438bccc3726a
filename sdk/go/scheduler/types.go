package scheduler

import (
	"slices"
	"strconv"
)

// Resources are amounts in base units: CPU in millicores, memory and storage in bytes, all others in whole units by name.
type Resources struct {
	MilliCPU         int64
	Memory           int64
	EphemeralStorage int64
	Extended         map[string]int64
}

func (r *Resources) add(more *Resources, sign int64) {
	r.MilliCPU += sign * more.MilliCPU
	r.Memory += sign * more.Memory
	r.EphemeralStorage += sign * more.EphemeralStorage
	for name, amount := range more.Extended {
		if r.Extended == nil {
			r.Extended = map[string]int64{}
		}
		r.Extended[name] += sign * amount
	}
}

// Effect of a taint.
type Effect uint8

const (
	NoSchedule Effect = iota
	PreferNoSchedule
	NoExecute
	// EveryEffect stands in tolerations only.
	EveryEffect
)

type Taint struct {
	Key, Value string
	Effect     Effect
}

type Toleration struct {
	// Empty with Exists: every key.
	Key    string
	Exists bool
	Value  string
	Effect Effect
}

func (t *Toleration) tolerates(key, value string, effect Effect) bool {
	if t.Effect != EveryEffect && t.Effect != effect || t.Key != key && (t.Key != "" || !t.Exists) {
		return false
	}
	return t.Exists || t.Value == value
}

// Operator of a requirement. Gt and Lt stand only in node affinity.
type Operator uint8

const (
	In Operator = iota
	NotIn
	Exists
	DoesNotExist
	Gt
	Lt
)

type Requirement struct {
	Key      string
	Operator Operator
	Values   []string
}

func (r *Requirement) holds(labels map[string]string) bool {
	value, there := labels[r.Key]
	switch r.Operator {
	case In:
		return there && slices.Contains(r.Values, value)
	case NotIn:
		return !there || !slices.Contains(r.Values, value)
	case Exists:
		return there
	case DoesNotExist:
		return !there
	}
	if !there || len(r.Values) == 0 {
		return false
	}
	found, err := strconv.ParseInt(value, 10, 64)
	bound, wrong := strconv.ParseInt(r.Values[0], 10, 64)
	if err != nil || wrong != nil {
		return false
	}
	if r.Operator == Gt {
		return found > bound
	}
	return found < bound
}

func allHold(requirements []Requirement, labels map[string]string) bool {
	for i := range requirements {
		if !requirements[i].holds(labels) {
			return false
		}
	}
	return true
}

// NodeTerm is one of a node selector's terms: all of it must hold; an empty one matches nothing.
type NodeTerm struct {
	Labels []Requirement
	// Over `metadata.name`, the only field.
	Fields []Requirement
}

func (t *NodeTerm) matches(node *Node) bool {
	if len(t.Labels) == 0 && len(t.Fields) == 0 || !allHold(t.Labels, node.Labels) {
		return false
	}
	return len(t.Fields) == 0 || allHold(t.Fields, map[string]string{"metadata.name": node.Name})
}

func anyMatches(terms []NodeTerm, node *Node) bool {
	return slices.ContainsFunc(terms, func(t NodeTerm) bool { return t.matches(node) })
}

type PreferredNodes struct {
	Weight int32
	Term   NodeTerm
}

// PodTerm is a term of pod affinity or anti-affinity.
type PodTerm struct {
	TopologyKey string
	// nil matches no pod, an empty one all.
	Selector   []Requirement
	Namespaces []string
	// Over the labels of namespaces; nil selects by Namespaces alone.
	NamespaceSelector []Requirement
	// Of preferred terms.
	Weight int32
}

// Spread is a topology spread constraint.
type Spread struct {
	TopologyKey string
	MaxSkew     int32
	// DoNotSchedule; else ScheduleAnyway.
	Hard bool
	// nil matches no pod.
	Selector []Requirement
	// 0: none.
	MinDomains        int32
	HonorNodeAffinity bool
	HonorNodeTaints   bool
}

type HostPort struct {
	// 0.0.0.0 for all addresses.
	IP       string
	Protocol string
	Port     uint16
}

func (p *HostPort) collides(other *HostPort) bool {
	if p.Port != other.Port || p.Protocol != other.Protocol {
		return false
	}
	return p.IP == other.IP || p.isEverywhere() || other.isEverywhere()
}

func (p *HostPort) isEverywhere() bool { return p.IP == "" || p.IP == "0.0.0.0" }

// VolumeReason is what is said of a node that a volume does not allow.
type VolumeReason struct{ Filter, Message string }

// Pod is a pod as scheduling sees it: defaults applied, requests summed over containers, init containers and overhead.
type Pod struct {
	UID, Namespace, Name string
	Labels, Annotations  map[string]string
	Priority             int32
	// False for `preemptionPolicy: Never`.
	MayPreempt bool
	Requests   Resources
	// What scores take the pod to use: 100 millicores and 200 MiB for each container that asks for none.
	ScoredMilliCPU, ScoredMemory int64
	NodeSelector                 map[string]string
	// nil: no required node affinity.
	RequiredNodes  []NodeTerm
	PreferredNodes []PreferredNodes
	// For each demand that a volume makes of the node: terms, any of which must match; and why a node is refused that does not meet it.
	VolumeNodes   [][]NodeTerm
	VolumeReasons []VolumeReason
	// PersistentVolumeClaims that the pod mounts, and those of them that one pod alone may use.
	Claims, ExclusiveClaims                     []string
	Tolerations                                 []Toleration
	RequiredAffinity, PreferredAffinity         []PodTerm
	RequiredAntiAffinity, PreferredAntiAffinity []PodTerm
	Spread                                      []Spread
	SpreadByDefault                             bool
	HostPorts                                   []HostPort
	// One for each container and init container; those of image volumes.
	Images, VolumeImages []string
	// Seconds since 1970.
	Started  int64
	Deleting bool
}

func (p *Pod) tolerates(key, value string, effect Effect) bool {
	return slices.ContainsFunc(p.Tolerations, func(t Toleration) bool { return t.tolerates(key, value, effect) })
}

type Image struct {
	Names     []string
	SizeBytes uint64
}

// Node is a node with the pods on it. Read it; what you write to it is lost at the next change of the node.
type Node struct {
	ID                  uint32
	Name                string
	Labels, Annotations map[string]string
	Taints              []Taint
	Unschedulable       bool
	Allocatable         Resources
	MaxPods             uint32
	Images              []Image
	// Pods that run here or are assumed to, and the sum of their requests.
	Pods []*Pod
	Used Resources
}

func (n *Node) place(pod *Pod) {
	n.Pods = append(n.Pods, pod)
	n.Used.add(&pod.Requests, 1)
}

func (n *Node) forget(pod *Pod) {
	at := slices.Index(n.Pods, pod)
	if at < 0 {
		return
	}
	n.Pods = slices.Delete(n.Pods, at, at+1)
	n.Used.add(&pod.Requests, -1)
}
