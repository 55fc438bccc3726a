package admission

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

var maps, namespaces = Resource{"", "v1", "configmaps"}, Resource{"", "v1", "namespaces"}

// Labels what is made with its namespace's team, and lets nobody take that away.
func policy() Policy {
	return Policy{
		Rules: func() ([]Rule, error) {
			return []Rule{Writes(maps, Mutate).On(Create), Writes(maps, Validate)}, nil
		},
		Admit: func(cluster Cluster, request *Request) Response {
			namespace, err := cluster.Get(namespaces, "", request.Namespace)
			if IsNotFound(err) {
				return Deny("no such namespace")
			}
			team := namespace.Text("metadata", "labels", "team")
			if request.Phase == Mutate {
				request.Object.Set(team, "metadata", "labels", "team")
				answer := Change(request.Object)
				answer.Warnings = []string{"it is " + team + "'s"}
				return answer
			}
			if request.Object.Text("metadata", "labels", "team") != team {
				return Deny("the label team is the namespace's")
			}
			return Allow()
		},
	}
}

func named(namespace, name string) Object {
	return Object{"kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": namespace}}
}

func TestAWriteHasTwoTurns(t *testing.T) {
	cluster := NewCluster()
	cluster.Add(namespaces, Parse([]byte(`{"metadata": {"name": "n", "labels": {"team": "red"}}}`)))
	made, warnings, refusal := policy().Write(cluster, Creation(maps, named("n", "a")))
	if refusal != nil || made.Text("metadata", "labels", "team") != "red" || !slices.Equal(warnings, []string{"it is red's"}) {
		t.Error(made, warnings, refusal)
	}
	_, _, refusal = policy().Write(cluster, UpdateOf(maps, made, named("n", "a")))
	if refusal == nil || refusal.Code != 403 || refusal.Message != "the label team is the namespace's" {
		t.Error(refusal)
	}
	if _, _, refusal = policy().Write(cluster, Creation(maps, named("m", "a"))); refusal == nil || refusal.Message != "no such namespace" {
		t.Error(refusal)
	}
	other := Creation(namespaces, named("", "x"))
	if _, warnings, refusal := policy().Write(cluster, other); warnings != nil || refusal != nil {
		t.Error("nobody is asked about what no rule names", warnings, refusal)
	}
}

func TestWhatAValidatingPolicyChangesIsAnError(t *testing.T) {
	changes := Policy{
		Rules: func() ([]Rule, error) { return []Rule{Writes(maps, Validate)}, nil },
		Admit: func(_ Cluster, request *Request) Response { return Change(request.Object) },
	}
	defer func() {
		if said, _ := recover().(string); !strings.Contains(said, "changes the object in Validate") {
			t.Error(said)
		}
	}()
	changes.Write(NewCluster(), Creation(maps, named("n", "a")))
}

func TestThePolicyMayRefuseItsConfiguration(t *testing.T) {
	refuses := Policy{Rules: func() ([]Rule, error) { return nil, errors.New("no budget") }, Admit: policy().Admit}
	if _, err := refuses.rules(); err == nil || err.Error() != "no budget" {
		t.Error(err)
	}
	if _, err := (&Policy{}).rules(); err == nil || !strings.Contains(err.Error(), "admission.Use") {
		t.Error(err)
	}
}

func TestTheClusterSelects(t *testing.T) {
	cluster := NewCluster()
	for _, name := range []string{"b", "a"} {
		object := named("n", name)
		object.Set("x", "metadata", "labels", name)
		cluster.Add(maps, object)
	}
	cluster.Add(maps, named("m", "c"))
	names := func(query Query) (names []string) {
		query.Resource = maps
		found, _ := cluster.List(query)
		for _, object := range found {
			names = append(names, object.Text("metadata", "name"))
		}
		return names
	}
	if got := names(Query{}); !slices.Equal(got, []string{"c", "a", "b"}) {
		t.Error(got)
	}
	if got := names(Query{Namespace: "n", Labels: "a=x"}); !slices.Equal(got, []string{"a"}) {
		t.Error(got)
	}
}

func TestNumbersStayAsTheyAre(t *testing.T) {
	text := `{"big":12345678901234567890,"half":0.50,"list":[1,{"a":null}],"text":"\u003c"}`
	if got := string(Parse([]byte(text)).JSON()); got != text {
		t.Error(got)
	}
	object := Object{}
	object.Set(1, "a", "b", "c")
	if object.At("a", "b", "c") != 1 || object.At("a", "x", "c") != nil || object.Text("a") != "" || Parse(nil) != nil {
		t.Error(object)
	}
}
