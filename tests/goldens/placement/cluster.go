package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Cluster is one generated situation: everything that the scheduler sees, and the pods that wait.
type Cluster struct {
	Seed       uint64                          `json:"seed"`
	Theme      string                          `json:"theme"`
	Namespaces []*v1.Namespace                 `json:"namespaces"`
	Nodes      []*v1.Node                      `json:"nodes"`
	Pods       []*v1.Pod                       `json:"pods,omitempty"`
	Services   []*v1.Service                   `json:"services,omitempty"`
	Sets       []*appsv1.ReplicaSet            `json:"replicasets,omitempty"`
	Stateful   []*appsv1.StatefulSet           `json:"statefulsets,omitempty"`
	Budgets    []*policyv1.PodDisruptionBudget `json:"budgets,omitempty"`
	Classes    []*storagev1.StorageClass       `json:"classes,omitempty"`
	Volumes    []*v1.PersistentVolume          `json:"volumes,omitempty"`
	Claims     []*v1.PersistentVolumeClaim     `json:"claims,omitempty"`
	Pending    []*v1.Pod                       `json:"pending"`
}

// Themes say which wishes the pods of a cluster have most; everything may occur everywhere.
var Themes = []string{"plain", "resources", "taints", "nodes", "affinity", "spread", "ports", "defaults", "preemption", "budgets", "volumes", "everything"}

var zones = []string{"za", "zb", "zc", "zd"}

type dice struct{ *rand.Rand }

func (d dice) chance(percent int) bool { return d.IntN(100) < percent }

func pick[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

// maker draws one cluster.
type maker struct {
	dice
	*Cluster
	epoch time.Time
}

// Draw makes the cluster of a seed: the same for the same seed and version of this program.
func Draw(seed uint64) *Cluster {
	m := &maker{dice: dice{rand.New(rand.NewPCG(seed, 0x70696e746c65))}, Cluster: &Cluster{Seed: seed}, epoch: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	m.Theme = Themes[int(seed)%len(Themes)]
	m.namespaces()
	m.nodes()
	m.owners()
	if m.about("volumes") {
		m.storage()
	}
	crowd := pick(m.dice, 0, 5, 10, 20, 30) + m.IntN(6)
	if m.about("preemption") || m.about("budgets") {
		crowd = len(m.Nodes) * (4 + m.IntN(4))
	}
	for i := range crowd {
		m.Pods = append(m.Pods, m.placed(i))
	}
	m.budgets()
	for i := range 4 {
		m.Pending = append(m.Pending, m.waiting(i))
	}
	for _, pod := range append(append([]*v1.Pod{}, m.Pods...), m.Pending...) {
		serve(pod)
	}
	return m.Cluster
}

// about says whether the cluster is of the theme, or of that with everything.
func (m *maker) about(theme string) bool { return m.Theme == theme || m.Theme == "everything" }

// wants is likelier where the cluster is about it.
func (m *maker) wants(theme string) bool {
	if m.about(theme) {
		return m.chance(60)
	}
	return m.Theme != "plain" && m.chance(6)
}

func (m *maker) namespaces() {
	for _, name := range []string{"default", "team-a", "team-b"} {
		labels := map[string]string{"kubernetes.io/metadata.name": name}
		if name != "default" {
			labels["team"] = name[5:]
		}
		if m.chance(50) {
			labels["env"] = pick(m.dice, "prod", "test")
		}
		m.Namespaces = append(m.Namespaces, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	}
}

func (m *maker) nodes() {
	count := 2 + m.IntN(7)
	if m.chance(15) {
		count += 8 + m.IntN(8)
	}
	allZones := m.chance(70)
	for i := range count {
		m.Nodes = append(m.Nodes, m.node(i, allZones))
	}
}

func (m *maker) node(i int, allZones bool) *v1.Node {
	name := fmt.Sprintf("n%d", i)
	labels := map[string]string{"kubernetes.io/hostname": name, "disk": pick(m.dice, "ssd", "hdd"), "generation": pick(m.dice, "1", "2", "7", "12", "x")}
	if allZones || m.chance(70) {
		labels["topology.kubernetes.io/zone"] = pick(m.dice, zones...)
		labels["topology.kubernetes.io/region"] = "r1"
	}
	if m.chance(30) {
		labels["rack"] = pick(m.dice, "1", "2", "3")
	}
	if m.chance(3) {
		delete(labels, "kubernetes.io/hostname")
	}
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, UID: types.UID("node-" + name)}}
	node.Status.Allocatable = quantities("cpu", pick(m.dice, "2", "4", "4", "8", "3920m", "1.5"), "memory", pick(m.dice, "4Gi", "8Gi", "8G", "16Gi", "7945112Ki"),
		"pods", pick(m.dice, "110", "110", "110", "110", "30", "30", "4"))
	if m.chance(80) {
		node.Status.Allocatable["ephemeral-storage"] = resource.MustParse(pick(m.dice, "10Gi", "47093746742", "100G"))
	}
	if m.chance(30) {
		node.Status.Allocatable["example.com/gpu"] = resource.MustParse(pick(m.dice, "1", "2", "8"))
	}
	if m.chance(20) {
		node.Status.Allocatable["hugepages-2Mi"] = resource.MustParse(pick(m.dice, "0", "64Mi", "1Gi"))
	}
	node.Status.Capacity = node.Status.Allocatable.DeepCopy()
	for range m.IntN(3) {
		if m.wants("taints") {
			taint := v1.Taint{Key: pick(m.dice, "dedicated", "gpu", "spot"), Value: pick(m.dice, "", "a", "b"),
				Effect: pick(m.dice, v1.TaintEffectNoSchedule, v1.TaintEffectPreferNoSchedule, v1.TaintEffectPreferNoSchedule, v1.TaintEffectNoExecute)}
			if !has(node.Spec.Taints, taint) {
				node.Spec.Taints = append(node.Spec.Taints, taint)
			}
		}
	}
	if m.chance(6) {
		node.Spec.Unschedulable = true
		if m.chance(70) {
			node.Spec.Taints = append(node.Spec.Taints, v1.Taint{Key: v1.TaintNodeUnschedulable, Effect: v1.TaintEffectNoSchedule})
		}
	}
	m.images(node)
	return node
}

func has(taints []v1.Taint, taint v1.Taint) bool {
	for _, other := range taints {
		if other.MatchTaint(&taint) {
			return true
		}
	}
	return false
}

var images = []string{"registry.example/web:v1", "registry.example/web", "registry.example:5000/db:v2", "busybox", "busybox:1.36", "registry.example/huge@sha256:" + digest}

// An image is as large everywhere: upstream takes it for as large as on the node that it heard of first.
var sizes = []int64{300 << 20, 900 << 20, 3 << 30, 5 << 20, 40 << 20, 1300 << 20}

const digest = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func (m *maker) images(node *v1.Node) {
	for i, image := range images {
		if !m.chance(35) {
			continue
		}
		names := []string{image}
		if !m.chance(50) && image == "registry.example/web" {
			names = []string{"registry.example/web:latest"}
		} else if image == "busybox" {
			names = []string{"busybox:latest", "docker.io/library/busybox:latest"}
		}
		node.Status.Images = append(node.Status.Images, v1.ContainerImage{Names: names, SizeBytes: sizes[i]})
	}
}

func quantities(pairs ...string) v1.ResourceList {
	list := v1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		list[v1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return list
}

// owners are the Services and controllers whose selectors spread pods that say nothing themselves.
func (m *maker) owners() {
	if !m.about("defaults") && !m.chance(10) {
		return
	}
	for _, app := range apps {
		namespace := pick(m.dice, "default", "team-a")
		selector := map[string]string{"app": app}
		if m.chance(50) {
			m.Services = append(m.Services, &v1.Service{ObjectMeta: metav1.ObjectMeta{Name: app, Namespace: namespace}, Spec: v1.ServiceSpec{Selector: selector, Ports: []v1.ServicePort{{Port: 80}}}})
		}
		if m.chance(15) {
			m.Services = append(m.Services, &v1.Service{ObjectMeta: metav1.ObjectMeta{Name: app + "-free", Namespace: namespace}, Spec: v1.ServiceSpec{Ports: []v1.ServicePort{{Port: 81}}}})
		}
		meta := metav1.ObjectMeta{Name: app, Namespace: namespace, UID: types.UID("owner-" + app)}
		of := &metav1.LabelSelector{MatchLabels: selector}
		if m.chance(40) {
			of = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{app, "other"}}}}
		}
		template := v1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: selector}, Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c", Image: "busybox"}}}}
		switch m.IntN(3) {
		case 0:
			m.Sets = append(m.Sets, &appsv1.ReplicaSet{ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Selector: of, Template: template}})
		case 1:
			m.Stateful = append(m.Stateful, &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Selector: of, Template: template}})
		}
	}
}

func (m *maker) budgets() {
	if !m.about("budgets") && !m.chance(10) {
		return
	}
	for i := range 1 + m.IntN(4) {
		budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("b%d", i), Namespace: pick(m.dice, "default", "team-a")}}
		budget.Spec.MinAvailable = &intstr.IntOrString{IntVal: 1}
		budget.Status.DisruptionsAllowed = int32(m.IntN(3))
		switch m.IntN(5) {
		case 0:
			budget.Spec.Selector = &metav1.LabelSelector{}
		case 1:
			budget.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpExists}}}
		default:
			budget.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": pick(m.dice, apps...)}}
		}
		if m.chance(15) && len(m.Pods) > 0 {
			pod := m.Pods[m.IntN(len(m.Pods))]
			budget.Status.DisruptedPods = map[string]metav1.Time{pod.Name: {Time: m.epoch}}
		}
		m.Budgets = append(m.Budgets, budget)
	}
}

// Objects is everything, as a list for a client.
func (c *Cluster) Objects() []runtime.Object {
	var all []runtime.Object
	add(&all, c.Namespaces)
	add(&all, c.Nodes)
	add(&all, c.Services)
	add(&all, c.Sets)
	add(&all, c.Stateful)
	add(&all, c.Budgets)
	add(&all, c.Classes)
	add(&all, c.Volumes)
	add(&all, c.Claims)
	for _, pod := range c.Pods {
		// Those that have ended a real API server leaves out of what it shows the scheduler; a fake one knows no field selectors.
		if pod.Status.Phase != v1.PodSucceeded && pod.Status.Phase != v1.PodFailed {
			all = append(all, pod)
		}
	}
	add(&all, c.Pending)
	return all
}

func add[T runtime.Object](all *[]runtime.Object, objects []T) {
	for _, object := range objects {
		*all = append(*all, object)
	}
}
