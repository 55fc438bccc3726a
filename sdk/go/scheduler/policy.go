// Package scheduler is what an author of a scheduling policy imports: write a filter and a score, and hand them to Use.
//
//	func init() { scheduler.Use(scheduler.Policy{Filter: filter, Score: score}) }
//
// The SDK keeps the nodes and the pods on them, applies the filters that every pod is owed (resources, selectors, taints, ports, volumes,
// affinity, spread), looks at as many nodes as the host asks for, starting where the last decision ended, and breaks ties by the seed that
// the host draws for each decision. A policy sees none of that. It does not evict pods for others.
package scheduler

// Policy is what an author writes. Each part may be left out.
type Policy struct {
	// Filter says why the pod shall not run there, or nothing. Called for nodes where the pod could run.
	Filter func(pod *Pod, node *Node) string
	// Score gives 0 to 100, higher is better; fractions count. Called for nodes that passed.
	Score func(pod *Pod, node *Node) float64
	// Configure takes `spec.config`, before anything else. An error refuses it, with its words.
	Configure func(config string) error
}

// Use makes a policy the component's, or the test's. Call it from an init function.
func Use(policy Policy) { used = policy }

var used Policy

// The name that the policy's own filter and score go by in explanations.
const criterion = "Policy"

func (p *Policy) refusal(pod *Pod, node *Node) string {
	if p.Filter == nil {
		return ""
	}
	return p.Filter(pod, node)
}

func (p *Policy) score(pod *Pod, node *Node) float64 {
	if p.Score == nil {
		return 0
	}
	return p.Score(pod, node)
}

func (p *Policy) configure(config string) error {
	if p.Configure == nil {
		return nil
	}
	return p.Configure(config)
}
