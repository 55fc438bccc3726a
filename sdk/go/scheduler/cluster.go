package scheduler

import (
	"cmp"
	"slices"
)

// cluster is what was fed. Applying a change twice does no harm.
type cluster struct {
	nodes map[uint32]*Node
	// By uid. A pod's node may not be known yet.
	placed map[string]placement
	// Placed pods whose anti-affinity may refuse others.
	refusing map[string]placement
	// Their labels.
	namespaces map[string]map[string]string
	// By id, which is the order in which the host's `start` counts; nil when it is to be made anew.
	inOrder []*Node
}

type placement struct {
	pod *Pod
	at  uint32
}

func newCluster() *cluster {
	return &cluster{
		nodes:      map[uint32]*Node{},
		placed:     map[string]placement{},
		refusing:   map[string]placement{},
		namespaces: map[string]map[string]string{},
	}
}

func (c *cluster) ordered() []*Node {
	if c.inOrder == nil {
		c.inOrder = make([]*Node, 0, len(c.nodes))
		for _, node := range c.nodes {
			c.inOrder = append(c.inOrder, node)
		}
		slices.SortFunc(c.inOrder, func(a, b *Node) int { return cmp.Compare(a.ID, b.ID) })
	}
	return c.inOrder
}

func (c *cluster) upsertNode(node *Node) {
	if known := c.nodes[node.ID]; known != nil {
		node.Pods, node.Used = known.Pods, known.Used
	} else {
		c.adopt(node)
	}
	c.nodes[node.ID] = node
	c.inOrder = nil
}

// Pods may be fed before their node.
func (c *cluster) adopt(node *Node) {
	var found []*Pod
	for _, there := range c.placed {
		if there.at == node.ID {
			found = append(found, there.pod)
		}
	}
	slices.SortFunc(found, func(a, b *Pod) int { return cmp.Compare(a.UID, b.UID) })
	for _, pod := range found {
		node.place(pod)
	}
}

func (c *cluster) removeNode(id uint32) {
	delete(c.nodes, id)
	c.inOrder = nil
}

func (c *cluster) place(pod *Pod, at uint32) {
	c.forget(pod.UID)
	c.placed[pod.UID] = placement{pod, at}
	if len(pod.RequiredAntiAffinity) > 0 {
		c.refusing[pod.UID] = placement{pod, at}
	}
	if node := c.nodes[at]; node != nil {
		node.place(pod)
	}
}

func (c *cluster) forget(uid string) {
	known, there := c.placed[uid]
	if !there {
		return
	}
	delete(c.placed, uid)
	delete(c.refusing, uid)
	if node := c.nodes[known.at]; node != nil {
		node.forget(known.pod)
	}
}

// Where a placed pod is, by a label of its node.
func (c *cluster) domain(at uint32, key string) (string, bool) {
	node := c.nodes[at]
	if node == nil {
		return "", false
	}
	value, there := node.Labels[key]
	return value, there
}

func (c *cluster) matches(term *PodTerm, pod *Pod) bool {
	if term.Selector == nil || !allHold(term.Selector, pod.Labels) {
		return false
	}
	if slices.Contains(term.Namespaces, pod.Namespace) {
		return true
	}
	return term.NamespaceSelector != nil && allHold(term.NamespaceSelector, c.namespaces[pod.Namespace])
}

func (c *cluster) matchesAll(terms []PodTerm, pod *Pod) bool {
	for i := range terms {
		if !c.matches(&terms[i], pod) {
			return false
		}
	}
	return true
}
