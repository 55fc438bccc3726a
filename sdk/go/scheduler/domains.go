package scheduler

// Rules about topology domains: required pod affinity and anti-affinity, and spread constraints that forbid. Each is counted once for a
// decision over the placed pods and then looked up for each node.

var (
	affinityMissed = refusal{"InterPodAffinity", "node(s) didn't match pod affinity rules", false}
	antiAffinity   = refusal{"InterPodAffinity", "node(s) didn't match pod anti-affinity rules", true}
	existingAnti   = refusal{"InterPodAffinity", "node(s) didn't satisfy existing pods anti-affinity rules", true}
	spreadExceeded = refusal{"PodTopologySpread", "node(s) didn't match pod topology spread constraints", true}
	spreadNoLabel  = refusal{"PodTopologySpread", "node(s) didn't match pod topology spread constraints (missing required label)", false}
)

type set map[string]struct{}

type affinityRule struct {
	pod *Pod
	// Topology keys and domains that placed pods' anti-affinity refuses to this pod.
	refused map[[2]string]struct{}
	// For each required term: domains that hold a pod which matches all of them.
	wanted []set
	// For each anti-affinity term: domains that hold a match.
	avoided []set
	// The first of its group may go anywhere.
	firstOfGroup bool
}

func newAffinityRule(c *cluster, pod *Pod) *affinityRule {
	r := &affinityRule{pod: pod, refused: map[[2]string]struct{}{}}
	r.wanted, r.avoided = sets(len(pod.RequiredAffinity)), sets(len(pod.RequiredAntiAffinity))
	for _, there := range c.refusing {
		for i := range there.pod.RequiredAntiAffinity {
			term := &there.pod.RequiredAntiAffinity[i]
			if domain, known := c.domain(there.at, term.TopologyKey); known && c.matches(term, pod) {
				r.refused[[2]string{term.TopologyKey, domain}] = struct{}{}
			}
		}
	}
	if len(r.wanted)+len(r.avoided) > 0 {
		for _, there := range c.placed {
			r.count(c, there)
		}
	}
	nobody := true
	for _, domains := range r.wanted {
		nobody = nobody && len(domains) == 0
	}
	r.firstOfGroup = nobody && c.matchesAll(pod.RequiredAffinity, pod)
	return r
}

func sets(count int) []set {
	made := make([]set, count)
	for i := range made {
		made[i] = set{}
	}
	return made
}

func (r *affinityRule) count(c *cluster, there placement) {
	if len(r.wanted) > 0 && c.matchesAll(r.pod.RequiredAffinity, there.pod) {
		for i, domains := range r.wanted {
			if domain, known := c.domain(there.at, r.pod.RequiredAffinity[i].TopologyKey); known {
				domains[domain] = struct{}{}
			}
		}
	}
	for i, domains := range r.avoided {
		term := &r.pod.RequiredAntiAffinity[i]
		if domain, known := c.domain(there.at, term.TopologyKey); known && c.matches(term, there.pod) {
			domains[domain] = struct{}{}
		}
	}
}

func (r *affinityRule) refusal(node *Node) *refusal {
	present := true
	for i, domains := range r.wanted {
		domain, there := node.Labels[r.pod.RequiredAffinity[i].TopologyKey]
		if !there {
			return &affinityMissed
		}
		_, found := domains[domain]
		present = present && found
	}
	if !present && !r.firstOfGroup {
		return &affinityMissed
	}
	for i, domains := range r.avoided {
		if domain, there := node.Labels[r.pod.RequiredAntiAffinity[i].TopologyKey]; there {
			if _, found := domains[domain]; found {
				return &antiAffinity
			}
		}
	}
	for refused := range r.refused {
		if domain, there := node.Labels[refused[0]]; there && domain == refused[1] {
			return &existingAnti
		}
	}
	return nil
}

type spreadRule struct {
	constraints []Spread
	// For each: pods in each domain, the least of them, and whether the pod counts itself.
	counts []map[string]int64
	least  []int64
	itself []int64
}

// nil when no constraint forbids.
func newSpreadRule(c *cluster, pod *Pod) *spreadRule {
	r := &spreadRule{}
	for _, constraint := range pod.Spread {
		if constraint.Hard {
			r.constraints = append(r.constraints, constraint)
		}
	}
	if r.constraints == nil {
		return nil
	}
	for i := range r.constraints {
		constraint := &r.constraints[i]
		counts := r.inDomains(c, pod, constraint)
		least := int64(0)
		if len(counts) >= int(constraint.MinDomains) {
			least = leastOf(counts)
		}
		itself := int64(0)
		if constraint.Selector != nil && allHold(constraint.Selector, pod.Labels) {
			itself = 1
		}
		r.counts, r.least, r.itself = append(r.counts, counts), append(r.least, least), append(r.itself, itself)
	}
	return r
}

// Over the nodes that have all the constraints' labels.
func (r *spreadRule) inDomains(c *cluster, pod *Pod, constraint *Spread) map[string]int64 {
	counts := map[string]int64{}
	for _, node := range c.ordered() {
		if !r.hasAllLabels(node) || constraint.HonorNodeAffinity && !matchesNode(pod, node) {
			continue
		}
		if constraint.HonorNodeTaints && !toleratesTaints(pod, node) {
			continue
		}
		counts[node.Labels[constraint.TopologyKey]] += matching(constraint, pod.Namespace, node)
	}
	return counts
}

func (r *spreadRule) hasAllLabels(node *Node) bool {
	for i := range r.constraints {
		if _, there := node.Labels[r.constraints[i].TopologyKey]; !there {
			return false
		}
	}
	return true
}

func matching(constraint *Spread, namespace string, node *Node) (sum int64) {
	if constraint.Selector == nil {
		return 0
	}
	for _, pod := range node.Pods {
		if !pod.Deleting && pod.Namespace == namespace && allHold(constraint.Selector, pod.Labels) {
			sum++
		}
	}
	return sum
}

func leastOf(counts map[string]int64) int64 {
	least, first := int64(0), true
	for _, count := range counts {
		if first || count < least {
			least, first = count, false
		}
	}
	return least
}

func (r *spreadRule) refusal(node *Node) *refusal {
	for i := range r.constraints {
		domain, there := node.Labels[r.constraints[i].TopologyKey]
		if !there {
			return &spreadNoLabel
		}
		if r.counts[i][domain]+r.itself[i]-r.least[i] > int64(r.constraints[i].MaxSkew) {
			return &spreadExceeded
		}
	}
	return nil
}
