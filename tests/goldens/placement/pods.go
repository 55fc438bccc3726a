package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	core "k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corev1 "k8s.io/kubernetes/pkg/apis/core/v1"
	registry "k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/utils/ptr"
)

var legacyScheme = legacyscheme.Scheme

var apps = []string{"web", "db", "cache"}

// placed is a pod on a node, whether it would fit there or not: upstream asks nobody either.
func (m *maker) placed(i int) *v1.Pod {
	pod := m.pod(fmt.Sprintf("p%d", i))
	pod.Spec.NodeName = m.Nodes[m.IntN(len(m.Nodes))].Name
	pod.Status.Phase = v1.PodRunning
	// No two start at once: which of them upstream takes for the more important hangs on how Go sorts.
	started := metav1.Time{Time: m.epoch.Add(time.Duration(m.IntN(500)*100+i) * time.Second)}
	pod.CreationTimestamp = started
	if i != 3 {
		pod.Status.StartTime = &started
	}
	if m.chance(4) {
		pod.Status.Phase = pick(m.dice, v1.PodSucceeded, v1.PodFailed)
	}
	if m.chance(6) {
		pod.DeletionTimestamp = &metav1.Time{Time: m.epoch.Add(9 * time.Hour)}
		pod.DeletionGracePeriodSeconds = ptr.To[int64](30)
	}
	if m.about("preemption") || m.about("budgets") {
		pod.Spec.Containers[0].Resources.Requests = quantities("cpu", pick(m.dice, "500m", "1", "1500m"), "memory", pick(m.dice, "500Mi", "1Gi", "2Gi"))
	}
	if m.about("volumes") && m.chance(40) {
		m.mount(pod)
	}
	return pod
}

// waiting is a pod to be decided.
func (m *maker) waiting(i int) *v1.Pod {
	pod := m.pod(fmt.Sprintf("w%d", i))
	pod.CreationTimestamp = metav1.Time{Time: m.epoch.Add(10 * time.Hour)}
	if m.about("preemption") || m.about("budgets") {
		pod.Spec.Priority = ptr.To(pick(m.dice, int32(0), 100, 1000, 100000))
		if m.chance(15) {
			pod.Spec.PreemptionPolicy = ptr.To(v1.PreemptNever)
		}
		if m.chance(60) {
			pod.Spec.Containers[0].Resources.Requests = quantities("cpu", pick(m.dice, "1", "1500m", "2"), "memory", pick(m.dice, "1Gi", "3Gi"))
		}
		if m.chance(12) {
			pod.Status.NominatedNodeName = m.Nodes[m.IntN(len(m.Nodes))].Name
		}
	}
	if m.Theme != "plain" && m.chance(25) {
		pod.Spec.Priority = ptr.To[int32](5000)
	}
	if m.wants("nodes") {
		m.nodeWishes(pod)
	}
	if m.about("volumes") && m.chance(70) {
		m.mount(pod)
	}
	if m.chance(2) {
		pod.Spec.SchedulingGates = []v1.PodSchedulingGate{{Name: "example.com/later"}}
	}
	if m.chance(2) {
		pod.Spec.Containers[0].Resources.Requests = quantities("example.com/nobody-has-it", "1")
		pod.Spec.Containers[0].Resources.Limits = quantities("example.com/nobody-has-it", "1")
	}
	return pod
}

// pod is what both have in common.
func (m *maker) pod(name string) *v1.Pod {
	labels := map[string]string{"app": pick(m.dice, apps...)}
	if m.chance(40) {
		labels["tier"] = pick(m.dice, "front", "back")
	}
	if m.chance(30) {
		labels["version"] = pick(m.dice, "1", "2")
	}
	if m.chance(3) {
		labels = nil
	}
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: pick(m.dice, "default", "default", "team-a", "team-b"), Labels: labels, UID: types.UID("uid-" + name)}}
	m.containers(pod)
	if m.about("preemption") || m.about("budgets") || m.chance(10) {
		pod.Spec.Priority = ptr.To(pick(m.dice, int32(-10), 0, 0, 10, 100, 1000))
	} else {
		pod.Spec.Priority = ptr.To[int32](0)
	}
	if m.wants("taints") {
		m.tolerations(pod)
	}
	if m.wants("affinity") {
		m.podAffinity(pod)
	}
	if m.wants("spread") {
		m.spread(pod)
	}
	if m.wants("ports") {
		m.ports(pod)
	}
	m.own(pod)
	return pod
}

func (m *maker) containers(pod *v1.Pod) {
	for i := range 1 + m.IntN(2) {
		pod.Spec.Containers = append(pod.Spec.Containers, v1.Container{Name: fmt.Sprintf("c%d", i), Image: pick(m.dice, images...), Resources: m.resources()})
	}
	if !m.about("resources") && !m.chance(5) {
		return
	}
	for i := range m.IntN(4) {
		init := v1.Container{Name: fmt.Sprintf("i%d", i), Image: pick(m.dice, images...), Resources: m.resources()}
		if m.chance(40) {
			init.RestartPolicy = ptr.To(v1.ContainerRestartPolicyAlways)
		}
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, init)
	}
	if m.chance(20) {
		pod.Spec.Overhead = quantities("cpu", "250m", "memory", "120Mi")
	}
	if m.chance(20) {
		// As large as its containers together, or the API server refuses it.
		pod.Spec.Resources = &v1.ResourceRequirements{Requests: quantities("cpu", pick(m.dice, "4", "6")), Limits: quantities("cpu", "8", "memory", "20Gi")}
		if m.chance(50) {
			pod.Spec.Resources.Requests["memory"] = *pod.Spec.Resources.Limits.Memory()
		}
	}
}

func (m *maker) resources() v1.ResourceRequirements {
	if m.chance(15) {
		return v1.ResourceRequirements{}
	}
	requests := v1.ResourceList{}
	set := func(name, amount string) {
		requests[v1.ResourceName(name)] = quantities(name, amount)[v1.ResourceName(name)]
	}
	if m.chance(85) {
		if m.roomy() {
			set("cpu", pick(m.dice, "100m", "0.05", "10m", "7m"))
		} else {
			set("cpu", pick(m.dice, "100m", "250m", "0.5", "1", "1", "10m"))
		}
	}
	if m.chance(85) {
		if m.roomy() {
			set("memory", pick(m.dice, "64Mi", "200M", "128974848", "1e8"))
		} else {
			set("memory", pick(m.dice, "64Mi", "200M", "512Mi", "1Gi", "2Gi", "128974848", "1e9"))
		}
	}
	if m.about("resources") && m.chance(25) {
		set("ephemeral-storage", pick(m.dice, "1Gi", "3G", "20Gi"))
	}
	limits := v1.ResourceList{}
	if m.about("resources") {
		for _, extra := range []struct{ name, small, large string }{{"example.com/gpu", "1", "2"}, {"hugepages-2Mi", "4Mi", "64Mi"}} {
			if m.chance(12) && (extra.name == "example.com/gpu" || hasAny(requests, "cpu", "memory")) {
				set(extra.name, pick(m.dice, extra.small, extra.large))
				limits[v1.ResourceName(extra.name)] = requests[v1.ResourceName(extra.name)]
			}
		}
		// A limit alone is a request, too.
		if m.chance(15) && !hasAny(limits, "hugepages-2Mi") {
			delete(requests, "cpu")
			limits["cpu"] = quantities("cpu", "700m")["cpu"]
		}
	}
	return v1.ResourceRequirements{Requests: requests, Limits: limits}
}

func hasAny(list v1.ResourceList, names ...v1.ResourceName) bool {
	return slices.ContainsFunc(names, func(name v1.ResourceName) bool { _, has := list[name]; return has })
}

// roomy clusters are not about resources: there something else must refuse.
func (m *maker) roomy() bool {
	return !m.about("plain") && !m.about("resources") && !m.about("preemption") && !m.about("budgets") && !m.chance(15)
}

func (m *maker) tolerations(pod *v1.Pod) {
	for range 1 + m.IntN(3) {
		toleration := v1.Toleration{Key: pick(m.dice, "dedicated", "gpu", "spot", v1.TaintNodeUnschedulable), Operator: pick(m.dice, v1.TolerationOpEqual, v1.TolerationOpExists, ""),
			Effect: pick(m.dice, "", v1.TaintEffectNoSchedule, v1.TaintEffectPreferNoSchedule, v1.TaintEffectNoExecute)}
		if toleration.Operator == v1.TolerationOpExists {
			if m.chance(15) {
				toleration.Key = ""
			}
		} else {
			toleration.Value = pick(m.dice, "", "a", "b")
		}
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, toleration)
	}
}

func (m *maker) nodeWishes(pod *v1.Pod) {
	if m.chance(30) {
		pod.Spec.NodeSelector = map[string]string{"disk": pick(m.dice, "ssd", "hdd")}
	}
	affinity := &v1.NodeAffinity{}
	if m.chance(60) {
		selector := &v1.NodeSelector{}
		for range 1 + m.IntN(2) {
			selector.NodeSelectorTerms = append(selector.NodeSelectorTerms, m.nodeTerm(true))
		}
		affinity.RequiredDuringSchedulingIgnoredDuringExecution = selector
	}
	for range m.IntN(4) {
		affinity.PreferredDuringSchedulingIgnoredDuringExecution = append(affinity.PreferredDuringSchedulingIgnoredDuringExecution,
			v1.PreferredSchedulingTerm{Weight: int32(1 + m.IntN(100)), Preference: m.nodeTerm(false)})
	}
	if pod.Spec.Affinity == nil {
		pod.Spec.Affinity = &v1.Affinity{}
	}
	pod.Spec.Affinity.NodeAffinity = affinity
}

func (m *maker) nodeTerm(fields bool) v1.NodeSelectorTerm {
	term := v1.NodeSelectorTerm{}
	for range m.IntN(3) {
		var r v1.NodeSelectorRequirement
		switch m.IntN(6) {
		case 0:
			r = v1.NodeSelectorRequirement{Key: "topology.kubernetes.io/zone", Operator: v1.NodeSelectorOpIn, Values: []string{pick(m.dice, zones...), pick(m.dice, zones...)}}
		case 1:
			r = v1.NodeSelectorRequirement{Key: "disk", Operator: v1.NodeSelectorOpNotIn, Values: []string{pick(m.dice, "ssd", "hdd")}}
		case 2:
			r = v1.NodeSelectorRequirement{Key: "rack", Operator: v1.NodeSelectorOpExists}
		case 3:
			r = v1.NodeSelectorRequirement{Key: "rack", Operator: v1.NodeSelectorOpDoesNotExist}
		case 4:
			r = v1.NodeSelectorRequirement{Key: "generation", Operator: v1.NodeSelectorOpGt, Values: []string{pick(m.dice, "1", "5", "10")}}
		default:
			r = v1.NodeSelectorRequirement{Key: "generation", Operator: v1.NodeSelectorOpLt, Values: []string{pick(m.dice, "2", "8", "13")}}
		}
		term.MatchExpressions = append(term.MatchExpressions, r)
	}
	if fields && m.chance(15) {
		node := m.Nodes[m.IntN(len(m.Nodes))].Name
		if m.chance(20) {
			node = "gone"
		}
		term.MatchFields = []v1.NodeSelectorRequirement{{Key: "metadata.name", Operator: pick(m.dice, v1.NodeSelectorOpIn, v1.NodeSelectorOpIn, v1.NodeSelectorOpNotIn), Values: []string{node}}}
	}
	return term
}

func (m *maker) selector() *metav1.LabelSelector {
	switch m.IntN(8) {
	case 0:
		return &metav1.LabelSelector{}
	case 1:
		return nil
	case 2:
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpExists}}}
	case 3:
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{pick(m.dice, apps...)}}, {Key: "tier", Operator: metav1.LabelSelectorOpDoesNotExist}}}
	default:
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": pick(m.dice, apps...)}}
	}
}

func (m *maker) podTerm() v1.PodAffinityTerm {
	term := v1.PodAffinityTerm{LabelSelector: m.selector(), TopologyKey: pick(m.dice, "kubernetes.io/hostname", "topology.kubernetes.io/zone", "topology.kubernetes.io/zone", "rack")}
	switch m.IntN(6) {
	case 0:
		term.Namespaces = []string{pick(m.dice, "default", "team-a", "team-b")}
	case 1:
		term.NamespaceSelector = &metav1.LabelSelector{}
	case 2:
		term.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"env": pick(m.dice, "prod", "test")}}
	case 3:
		term.Namespaces = []string{"team-b"}
		term.NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: metav1.LabelSelectorOpDoesNotExist}}}
	}
	if term.LabelSelector != nil && m.chance(15) {
		term.MatchLabelKeys = []string{"version"}
	}
	if term.LabelSelector != nil && m.chance(10) {
		term.MismatchLabelKeys = []string{"tier"}
	}
	return term
}

func (m *maker) podAffinity(pod *v1.Pod) {
	affinity, anti := &v1.PodAffinity{}, &v1.PodAntiAffinity{}
	if m.chance(25) {
		for range 1 + m.IntN(2) {
			affinity.RequiredDuringSchedulingIgnoredDuringExecution = append(affinity.RequiredDuringSchedulingIgnoredDuringExecution, m.podTerm())
		}
	}
	if m.chance(30) {
		anti.RequiredDuringSchedulingIgnoredDuringExecution = append(anti.RequiredDuringSchedulingIgnoredDuringExecution, m.podTerm())
	}
	for range m.IntN(3) {
		affinity.PreferredDuringSchedulingIgnoredDuringExecution = append(affinity.PreferredDuringSchedulingIgnoredDuringExecution,
			v1.WeightedPodAffinityTerm{Weight: int32(1 + m.IntN(100)), PodAffinityTerm: m.podTerm()})
	}
	for range m.IntN(3) {
		anti.PreferredDuringSchedulingIgnoredDuringExecution = append(anti.PreferredDuringSchedulingIgnoredDuringExecution,
			v1.WeightedPodAffinityTerm{Weight: int32(1 + m.IntN(100)), PodAffinityTerm: m.podTerm()})
	}
	pod.Spec.Affinity = &v1.Affinity{PodAffinity: affinity, PodAntiAffinity: anti}
}

func (m *maker) spread(pod *v1.Pod) {
	seen := map[string]bool{}
	for range 1 + m.IntN(3) {
		c := v1.TopologySpreadConstraint{MaxSkew: int32(1 + m.IntN(3)), TopologyKey: pick(m.dice, "kubernetes.io/hostname", "topology.kubernetes.io/zone", "topology.kubernetes.io/zone", "rack"),
			WhenUnsatisfiable: pick(m.dice, v1.DoNotSchedule, v1.ScheduleAnyway), LabelSelector: m.selector()}
		key := c.TopologyKey + string(c.WhenUnsatisfiable)
		if seen[key] {
			continue
		}
		seen[key] = true
		if c.WhenUnsatisfiable == v1.DoNotSchedule && m.chance(30) {
			c.MinDomains = ptr.To(int32(1 + m.IntN(5)))
		}
		if m.chance(40) {
			c.NodeAffinityPolicy = ptr.To(pick(m.dice, v1.NodeInclusionPolicyHonor, v1.NodeInclusionPolicyIgnore))
		}
		if m.chance(40) {
			c.NodeTaintsPolicy = ptr.To(pick(m.dice, v1.NodeInclusionPolicyHonor, v1.NodeInclusionPolicyIgnore))
		}
		if c.LabelSelector != nil && m.chance(25) {
			c.MatchLabelKeys = []string{"version"}
		}
		pod.Spec.TopologySpreadConstraints = append(pod.Spec.TopologySpreadConstraints, c)
	}
}

func (m *maker) ports(pod *v1.Pod) {
	for range 1 + m.IntN(2) {
		port := v1.ContainerPort{ContainerPort: int32(pick(m.dice, 80, 443, 8080)), HostIP: pick(m.dice, "", "", "127.0.0.1", "10.0.0.1", "0.0.0.0"), Protocol: pick(m.dice, v1.ProtocolTCP, v1.ProtocolTCP, v1.ProtocolUDP)}
		port.HostPort = port.ContainerPort
		if slices.ContainsFunc(pod.Spec.Containers[0].Ports, func(other v1.ContainerPort) bool { return other.HostPort == port.HostPort }) {
			continue
		}
		pod.Spec.Containers[0].Ports = append(pod.Spec.Containers[0].Ports, port)
	}
	if m.chance(20) {
		pod.Spec.HostNetwork = true
		for i := range pod.Spec.Containers[0].Ports {
			pod.Spec.Containers[0].Ports[i].HostIP = ""
		}
	}
}

// own makes the pod that of a ReplicaSet or StatefulSet whose selector it has, where there is one.
func (m *maker) own(pod *v1.Pod) {
	if !m.chance(60) {
		return
	}
	owner := func(kind string, meta metav1.ObjectMeta) {
		if meta.Namespace == pod.Namespace && meta.Name == pod.Labels["app"] {
			pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: meta.Name, UID: meta.UID, Controller: ptr.To(true)}}
		}
	}
	for _, set := range m.Sets {
		owner("ReplicaSet", set.ObjectMeta)
	}
	for _, set := range m.Stateful {
		owner("StatefulSet", set.ObjectMeta)
	}
}

// serve does to the pod what the API server does when it is created: defaults, and label keys written out as selectors. Scheduling
// reads none of the fields that are emptied again.
func serve(pod *v1.Pod) {
	status, meta, nominated := pod.Status, pod.ObjectMeta, pod.Status.NominatedNodeName
	corev1.SetObjectDefaults_Pod(pod)
	internal := &core.Pod{}
	must(legacyScheme.Convert(pod, internal, nil))
	registry.Strategy.PrepareForCreate(context.Background(), internal)
	must(legacyScheme.Convert(internal, pod, nil))
	pod.ObjectMeta = meta
	pod.Status = v1.PodStatus{Phase: status.Phase, StartTime: status.StartTime, NominatedNodeName: nominated}
	if pod.Status.Phase == "" {
		pod.Status.Phase = v1.PodPending
	}
	pod.Spec.RestartPolicy, pod.Spec.DNSPolicy, pod.Spec.TerminationGracePeriodSeconds, pod.Spec.SecurityContext, pod.Spec.EnableServiceLinks = "", "", nil, nil, nil
	for _, containers := range [][]v1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range containers {
			containers[i].TerminationMessagePath, containers[i].TerminationMessagePolicy, containers[i].ImagePullPolicy = "", "", ""
		}
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
