// A scheduler for pintle: among the nodes that can run a pod, the one with the fewest pods wins.
//
// filter and score are the policy; change them. The SDK keeps the nodes and the pods on them, and has asked already whether the pod can run
// there at all: resources, selectors, taints, ports, volumes, affinity, spread.
package main

import "pintle.dev/sdk/scheduler"

// Why the pod shall not run there, or nothing.
func filter(pod *scheduler.Pod, node *scheduler.Node) string {
	return ""
}

// From 0 to 100, higher is better.
func score(pod *scheduler.Pod, node *scheduler.Node) float64 {
	return float64(max(100-len(node.Pods), 0))
}

func init() { scheduler.Use(scheduler.Policy{Filter: filter, Score: score}) }

// The component has no main function of its own; Go wants one.
func main() {}
