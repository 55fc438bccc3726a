//go:build wasip1

package scheduler

import "pintle.dev/sdk/internal/abi"

// From the form in which the host hands things over to the SDK's own, which outlives the call.

func text(from *abi.String) string { return abi.Text(*from) }

func pairs(from abi.List[witPair]) map[string]string {
	there := from.Slice()
	made := make(map[string]string, len(there))
	for i := range there {
		made[abi.Text(there[i].key)] = abi.Text(there[i].value)
	}
	return made
}

func liftResources(from *witResources) Resources {
	made := Resources{MilliCPU: from.milliCpu, Memory: from.memory, EphemeralStorage: from.ephemeralStorage}
	for _, extended := range from.extended.Slice() {
		if made.Extended == nil {
			made.Extended = map[string]int64{}
		}
		made.Extended[abi.Text(extended.F0)] = extended.F1
	}
	return made
}

func liftTaint(from *witTaint) Taint {
	return Taint{abi.Text(from.key), abi.Text(from.value), Effect(from.effect)}
}

func liftToleration(from *witToleration) Toleration {
	return Toleration{abi.Text(from.key), from.exists, abi.Text(from.value), Effect(from.effect.Or(uint8(EveryEffect)))}
}

func liftRequirement(from *witRequirement) Requirement {
	return Requirement{abi.Text(from.key), Operator(from.operator), abi.Lift(from.values, text)}
}

func liftNodeTerm(from *witNodeSelectorTerm) NodeTerm {
	return NodeTerm{abi.Lift(from.labels, liftRequirement), abi.Lift(from.fields, liftRequirement)}
}

func liftNodeTerms(from *abi.List[witNodeSelectorTerm]) []NodeTerm {
	return abi.Lift(*from, liftNodeTerm)
}

func liftPreferredNodes(from *witPreferredNodeTerm) PreferredNodes {
	return PreferredNodes{from.weight, liftNodeTerm(&from.term)}
}

func liftPodTerm(from *witPodAffinityTerm) PodTerm {
	return PodTerm{
		TopologyKey:       abi.Text(from.topologyKey),
		Selector:          abi.LiftOption(from.selector, liftRequirement),
		Namespaces:        abi.Lift(from.namespaces, text),
		NamespaceSelector: abi.LiftOption(from.namespaceSelector, liftRequirement),
	}
}

func liftPreferredPods(from *witPreferredPodTerm) PodTerm {
	made := liftPodTerm(&from.term)
	made.Weight = from.weight
	return made
}

func liftSpread(from *witSpreadConstraint) Spread {
	return Spread{
		TopologyKey:       abi.Text(from.topologyKey),
		MaxSkew:           from.maxSkew,
		Hard:              from.whenUnsatisfiable == witUnsatisfiableDoNotSchedule,
		Selector:          abi.LiftOption(from.selector, liftRequirement),
		MinDomains:        from.minDomains.Or(0),
		HonorNodeAffinity: from.honorNodeAffinity,
		HonorNodeTaints:   from.honorNodeTaints,
	}
}

func liftHostPort(from *witHostPort) HostPort {
	return HostPort{abi.Text(from.ip), abi.Text(from.protocol), from.port}
}

func liftImage(from *witImage) Image { return Image{abi.Lift(from.names, text), from.sizeBytes} }

func liftVolumeReason(from *witVolumeReason) VolumeReason {
	return VolumeReason{abi.Text(from.filter), abi.Text(from.message)}
}

func liftNode(from *witNode) *Node {
	return &Node{
		ID:            from.id,
		Name:          abi.Text(from.name),
		Labels:        pairs(from.labels),
		Annotations:   pairs(from.annotations),
		Taints:        abi.Lift(from.taints, liftTaint),
		Unschedulable: from.unschedulable,
		Allocatable:   liftResources(&from.allocatable),
		MaxPods:       from.maxPods,
		Images:        abi.Lift(from.images, liftImage),
	}
}

func liftPod(from *witPod) *Pod {
	made := &Pod{
		UID:            abi.Text(from.uid),
		Namespace:      abi.Text(from.namespace),
		Name:           abi.Text(from.name),
		Labels:         pairs(from.labels),
		Annotations:    pairs(from.annotations),
		Priority:       from.priority,
		MayPreempt:     from.mayPreempt,
		Requests:       liftResources(&from.requests),
		ScoredMilliCPU: from.scoredMilliCpu,
		ScoredMemory:   from.scoredMemory,
		Tolerations:    abi.Lift(from.tolerations, liftToleration),
		Images:         abi.Lift(from.images, text),
		Started:        from.started,
		Deleting:       from.deleting,
	}
	if from.constraints.Some {
		liftConstraints(made, &from.constraints.Value)
	}
	return made
}

// What a pod asks of its node beside room: fields of the SDK's pod, which are empty where it asks for nothing.
func liftConstraints(to *Pod, from *witConstraints) {
	if nodes := &from.nodes.Value; from.nodes.Some {
		to.NodeSelector = pairs(nodes.selector)
		to.RequiredNodes = abi.LiftOption(nodes.required, liftNodeTerm)
		to.PreferredNodes = abi.Lift(nodes.preferred, liftPreferredNodes)
	}
	if pods := &from.pods.Value; from.pods.Some {
		to.RequiredAffinity = abi.Lift(pods.required, liftPodTerm)
		to.PreferredAffinity = abi.Lift(pods.preferred, liftPreferredPods)
		to.RequiredAntiAffinity = abi.Lift(pods.requiredAnti, liftPodTerm)
		to.PreferredAntiAffinity = abi.Lift(pods.preferredAnti, liftPreferredPods)
	}
	if volumes := &from.volumes.Value; from.volumes.Some {
		to.VolumeNodes = abi.Lift(volumes.nodes, liftNodeTerms)
		to.VolumeReasons = abi.Lift(volumes.reasons, liftVolumeReason)
		to.Claims = abi.Lift(volumes.claims, text)
		to.ExclusiveClaims = abi.Lift(volumes.exclusiveClaims, text)
		to.VolumeImages = abi.Lift(volumes.images, text)
	}
	if spread := &from.spread.Value; from.spread.Some {
		to.Spread = abi.Lift(spread.constraints, liftSpread)
		to.SpreadByDefault = spread.byDefault
	}
	to.HostPorts = abi.Lift(from.hostPorts, liftHostPort)
}
