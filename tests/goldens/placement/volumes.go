package main

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// storage draws classes, volumes and claims: bound, waiting for a consumer, immediate, and broken ones.
func (m *maker) storage() {
	class := func(name, provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
		class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode}
		m.Classes = append(m.Classes, class)
		return class
	}
	class("local", "kubernetes.io/no-provisioner", storagev1.VolumeBindingWaitForFirstConsumer)
	class("now", "csi.example.com", storagev1.VolumeBindingImmediate)
	class("later", "csi.example.com", storagev1.VolumeBindingWaitForFirstConsumer)
	zonal := class("zonal", "csi.example.com", storagev1.VolumeBindingWaitForFirstConsumer)
	zonal.AllowedTopologies = []v1.TopologySelectorTerm{{MatchLabelExpressions: []v1.TopologySelectorLabelRequirement{
		{Key: "topology.kubernetes.io/zone", Values: []string{pick(m.dice, zones...), pick(m.dice, zones...)}}}}}
	for i := range 6 {
		m.volume(fmt.Sprintf("local-%d", i), "local")
	}
	for i := range 10 {
		m.claim(i)
	}
}

func (m *maker) volume(name, class string) *v1.PersistentVolume {
	volume := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("pv-" + name)}}
	volume.Spec.Capacity = quantities("storage", pick(m.dice, "1Gi", "5Gi", "10Gi"))
	volume.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}
	if m.chance(30) {
		volume.Spec.AccessModes = append(volume.Spec.AccessModes, v1.ReadWriteOncePod)
	}
	volume.Spec.StorageClassName = class
	volume.Spec.VolumeMode = ptr.To(v1.PersistentVolumeFilesystem)
	volume.Spec.HostPath = &v1.HostPathVolumeSource{Path: "/data/" + name}
	volume.Status.Phase = v1.VolumeAvailable
	switch m.IntN(4) {
	case 0:
	case 1:
		volume.Spec.NodeAffinity = reach("topology.kubernetes.io/zone", pick(m.dice, zones...), pick(m.dice, zones...))
	default:
		volume.Spec.NodeAffinity = reach("kubernetes.io/hostname", m.Nodes[m.IntN(len(m.Nodes))].Name)
	}
	if m.chance(20) {
		volume.Labels = map[string]string{"topology.kubernetes.io/zone": pick(m.dice, "za", "zb", "za__zb", "zc")}
	}
	m.Volumes = append(m.Volumes, volume)
	return volume
}

func reach(key string, values ...string) *v1.VolumeNodeAffinity {
	return &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
		MatchExpressions: []v1.NodeSelectorRequirement{{Key: key, Operator: v1.NodeSelectorOpIn, Values: values}}}}}}
}

func (m *maker) claim(i int) {
	claim := &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c%d", i), Namespace: pick(m.dice, "default", "default", "team-a"), UID: types.UID(fmt.Sprintf("pvc-%d", i))}}
	claim.Spec.AccessModes = []v1.PersistentVolumeAccessMode{pick(m.dice, v1.ReadWriteOnce, v1.ReadWriteOnce, v1.ReadWriteOncePod)}
	claim.Spec.Resources.Requests = quantities("storage", pick(m.dice, "1Gi", "4Gi"))
	claim.Spec.VolumeMode = ptr.To(v1.PersistentVolumeFilesystem)
	claim.Spec.StorageClassName = ptr.To(pick(m.dice, "local", "local", "later", "zonal", "now", "missing"))
	claim.Status.Phase = v1.ClaimPending
	if m.chance(45) {
		volume := m.volume("v-"+claim.Name, *claim.Spec.StorageClassName)
		volume.Spec.ClaimRef = &v1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID}
		volume.Status.Phase = v1.VolumeBound
		claim.Spec.VolumeName = volume.Name
		claim.Annotations = map[string]string{"pv.kubernetes.io/bind-completed": "yes"}
		claim.Status.Phase = v1.ClaimBound
		if m.chance(8) {
			m.Volumes = m.Volumes[:len(m.Volumes)-1]
		}
	}
	if m.chance(4) {
		claim.DeletionTimestamp = &metav1.Time{Time: m.epoch}
		claim.Finalizers = []string{"kubernetes.io/pvc-protection"}
	}
	m.Claims = append(m.Claims, claim)
}

// mount adds one or two volumes of claims in the pod's namespace, seldom of one that is not there.
func (m *maker) mount(pod *v1.Pod) {
	seen := map[string]bool{}
	for i := range 1 + m.IntN(2) {
		claim := m.Claims[m.IntN(len(m.Claims))]
		name := claim.Name
		if m.chance(3) {
			name = "nowhere"
		} else if claim.Namespace != pod.Namespace || seen[name] {
			continue
		}
		seen[name] = true
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: fmt.Sprintf("v%d", i), VolumeSource: v1.VolumeSource{
			PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name}}})
	}
}
