package admission

import (
	"slices"
	"sort"
	"strings"
)

// FakeCluster is a cluster in memory for tests.
type FakeCluster struct{ objects map[place]Object }

type place struct {
	resource        Resource
	namespace, name string
}

// NewCluster is an empty one.
func NewCluster() *FakeCluster { return &FakeCluster{objects: map[place]Object{}} }

// Add puts an object in.
func (c *FakeCluster) Add(resource Resource, object Object) {
	c.objects[place{resource, object.Text("metadata", "namespace"), object.Text("metadata", "name")}] = copied(object)
}

func (c *FakeCluster) Get(resource Resource, namespace, name string) (Object, error) {
	if object, there := c.objects[place{resource, namespace, name}]; there {
		return copied(object), nil
	}
	return nil, &ReadError{Reason: "NotFound", Message: resource.Name + " \"" + name + "\" not found"}
}

// List knows selectors of the form `a=b,c=d` alone, and no fields; it panics at others.
func (c *FakeCluster) List(query Query) ([]Object, error) {
	if query.Fields != "" {
		panic("the fake cluster knows no field selectors")
	}
	var places []place
	for at, object := range c.objects {
		in := query.Namespace == "" || query.Namespace == at.namespace
		if at.resource == query.Resource && in && selects(query.Labels, object) {
			places = append(places, at)
		}
	}
	sort.Slice(places, func(i, j int) bool {
		a, b := places[i], places[j]
		return a.namespace < b.namespace || a.namespace == b.namespace && a.name < b.name
	})
	var found []Object
	for _, at := range places {
		found = append(found, copied(c.objects[at]))
	}
	return found, nil
}

// Creation is a request as a test needs it; change what else matters.
func Creation(resource Resource, object Object) Request {
	return Request{
		Operation: Create,
		Kind:      Kind{resource.Group, resource.Version, object.Text("kind")},
		Resource:  resource,
		Name:      object.Text("metadata", "name"),
		Namespace: object.Text("metadata", "namespace"),
		User:      User{Username: "somebody", Groups: []string{"system:authenticated"}},
		Object:    object,
	}
}

// UpdateOf is the same for an update.
func UpdateOf(resource Resource, before, after Object) Request {
	request := Creation(resource, after)
	request.Operation, request.OldObject = Update, before
	return request
}

// Write sends a request through both turns, as the host does: the object as it would be stored, with the warnings on its way, or the refusal. A
// turn that no rule asks for is left out. It panics where an answer means nothing, as a change in Validate.
func (p Policy) Write(cluster Cluster, request Request) (Object, []string, *Refusal) {
	rules, err := p.rules()
	if err != nil {
		panic("the policy refuses its configuration: " + err.Error())
	}
	var warnings []string
	object := request.Object
	for _, phase := range []Phase{Mutate, Validate} {
		asked := request
		asked.Phase, asked.Object, asked.OldObject = phase, copied(object), copied(request.OldObject)
		if !slices.ContainsFunc(rules, func(rule Rule) bool { return rule.covers(&asked) }) {
			continue
		}
		answer := p.Admit(cluster, &asked)
		warnings = append(warnings, answer.Warnings...)
		switch {
		case answer.Refusal != nil:
			return nil, warnings, answer.Refusal
		case answer.Changed != nil && phase == Validate:
			panic("the policy changes the object in Validate")
		case answer.Changed != nil:
			object = copied(answer.Changed)
		}
	}
	return object, warnings, nil
}

func (r *Rule) covers(request *Request) bool {
	has := func(words []string, word string) bool {
		return slices.Contains(words, "*") || slices.Contains(words, word)
	}
	return slices.Contains(r.Phases, request.Phase) && slices.Contains(r.Operations, request.Operation) &&
		has(r.APIGroups, request.Resource.Group) && has(r.APIVersions, request.Resource.Version) &&
		slices.ContainsFunc(r.Resources, func(pattern string) bool {
			name, part, _ := strings.Cut(pattern, "/")
			return (name == "*" || name == request.Resource.Name) && (part == "*" || part == request.Subresource)
		})
}

func selects(selector string, object Object) bool {
	if selector == "" {
		return true
	}
	for _, term := range strings.Split(selector, ",") {
		key, value, is := strings.Cut(term, "=")
		if !is || strings.ContainsAny(term, "!() ") || strings.HasPrefix(value, "=") {
			panic("the fake cluster knows only selectors of the form a=b,c=d, not " + selector)
		}
		labels, _ := object.At("metadata", "labels").(map[string]any)
		if found, there := labels[key]; !there || found != value {
			return false
		}
	}
	return true
}

// Nobody changes what another one has.
func copied(object Object) Object {
	if object == nil {
		return nil
	}
	return Parse(object.JSON())
}
