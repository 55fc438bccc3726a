package main

import (
	"testing"

	"pintle.dev/sdk/admission"
)

func TestTheMakerOwnsIt(t *testing.T) {
	cluster := admission.NewCluster()
	object := func() admission.Object {
		return admission.Object{"kind": "ConfigMap", "metadata": map[string]any{"name": "a", "namespace": "default"}}
	}
	made, _, refusal := policy.Write(cluster, admission.Creation(configMaps, object()))
	if refusal != nil || made.Text("metadata", "labels", label) != "somebody" {
		t.Fatal(made, refusal)
	}
	stranger := admission.UpdateOf(configMaps, made, object())
	stranger.User.Username = "else"
	if _, _, refusal := policy.Write(cluster, stranger); refusal == nil || refusal.Code != 403 {
		t.Error(refusal)
	}
	if _, _, refusal := policy.Write(cluster, admission.UpdateOf(configMaps, made, object())); refusal != nil {
		t.Error(refusal)
	}
}
