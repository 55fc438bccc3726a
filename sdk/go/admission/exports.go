//go:build wasip1

package admission

import (
	"runtime"
	"sort"
	"unsafe"

	"pintle.dev/sdk/internal/abi"
)

// The exports and imports of the admission world, under the names and flat types that the canonical ABI gives them. What has more than 16 of
// these comes as an address; so does every answer.

//go:wasmexport rules
func exportRules() uint32 {
	// Of `result<list<rule>, string>`: either is an address and a count.
	var answer struct {
		failed bool
		value  abi.String
	}
	rules, err := used.rules()
	if err != nil {
		answer.failed, answer.value = true, abi.PutText(err.Error())
		return abi.Put(answer)
	}
	lowered := make([]witRule, len(rules))
	for i, rule := range rules {
		lowered[i] = witRule{
			phases: abi.PutList(numbers(rule.Phases)), operations: abi.PutList(numbers(rule.Operations)), apiGroups: texts(rule.APIGroups),
			apiVersions: texts(rule.APIVersions), resources: texts(rule.Resources), scope: uint8(rule.Scope),
		}
	}
	answer.value = abi.String(abi.PutList(lowered))
	return abi.Put(answer)
}

//go:wasmexport cabi_post_rules
func doneRules(uint32) { abi.Release() }

//go:wasmexport admit
func exportAdmit(at uint32) uint32 {
	found := used.Admit(host{}, liftRequest((*witRequest)(abi.Pointer(at))))
	answer := witResponse{warnings: texts(found.Warnings)}
	if why := found.Refusal; why != nil {
		answer.refusal = abi.Option[witRefusal]{Some: true, Value: witRefusal{why.Code, abi.PutText(why.Reason), abi.PutText(why.Message)}}
	}
	if found.Changed != nil {
		answer.change = witChange{witChangeObject, abi.PutList(found.Changed.JSON())}
	}
	answer.auditAnnotations = pairs(found.AuditAnnotations)
	return abi.Put(answer)
}

//go:wasmexport cabi_post_admit
func doneAdmit(uint32) { abi.Release() }

func liftRequest(r *witRequest) *Request {
	extra := map[string][]string{}
	for _, pair := range r.user.extra.Slice() {
		extra[abi.Text(pair.F0)] = liftTexts(pair.F1)
	}
	return &Request{
		Phase: Phase(r.phase), Operation: Operation(r.operation), Kind: liftKind(r.kind), Resource: liftResource(r.resource),
		Subresource: abi.Text(r.subresource), RequestKind: liftKind(r.requestKind), RequestResource: liftResource(r.requestResource),
		Name: abi.Text(r.name), Namespace: abi.Text(r.namespace),
		User:   User{Username: abi.Text(r.user.username), UID: abi.Text(r.user.uid), Groups: liftTexts(r.user.groups), Extra: extra},
		Object: parse(r.object), OldObject: parse(r.oldObject), DryRun: r.dryRun, Options: parse(r.options),
	}
}

func liftKind(k witKindId) Kind {
	return Kind{Group: abi.Text(k.group), Version: abi.Text(k.version), Kind: abi.Text(k.kind)}
}

func liftResource(r witResourceId) Resource {
	return Resource{Group: abi.Text(r.group), Version: abi.Text(r.version), Name: abi.Text(r.name)}
}

func liftTexts(list abi.List[abi.String]) []string {
	return abi.Lift(list, func(text *abi.String) string { return abi.Text(*text) })
}

func parse(text abi.String) Object {
	if text.Count == 0 {
		return nil
	}
	return Parse(text.Slice())
}

func texts(list []string) abi.List[abi.String] {
	lowered := make([]abi.String, len(list))
	for i, text := range list {
		lowered[i] = abi.PutText(text)
	}
	return abi.PutList(lowered)
}

func numbers[T ~uint8](list []T) []uint8 {
	lowered := make([]uint8, len(list))
	for i, value := range list {
		lowered[i] = uint8(value)
	}
	return lowered
}

func pairs(from map[string]string) abi.List[witPair] {
	keys := make([]string, 0, len(from))
	for key := range from {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	lowered := make([]witPair, len(keys))
	for i, key := range keys {
		lowered[i] = witPair{abi.PutText(key), abi.PutText(from[key])}
	}
	return abi.PutList(lowered)
}

//go:wasmimport pintle:admission/objects@0.1.0 get
func hostGet(group, version, plural, namespace, name string, answer unsafe.Pointer)

//go:wasmimport pintle:admission/objects@0.1.0 list
func hostList(group, version, plural, namespace, labels, fields string, answer unsafe.Pointer)

// Where both answer: not on the stack, which moves when the host asks for memory in between. An object or a list of them, or the error,
// which takes the most room.
var read struct {
	failed bool
	value  witReadError
}

type host struct{}

func (host) Get(resource Resource, namespace, name string) (Object, error) {
	hostGet(resource.Group, resource.Version, resource.Name, namespace, name, unsafe.Pointer(&read))
	runtime.KeepAlive([]string{resource.Group, resource.Version, resource.Name, namespace, name})
	if read.failed {
		return nil, failure()
	}
	return parse(*(*abi.String)(unsafe.Pointer(&read.value))), nil
}

func (host) List(query Query) ([]Object, error) {
	resource := query.Resource
	hostList(resource.Group, resource.Version, resource.Name, query.Namespace, query.Labels, query.Fields, unsafe.Pointer(&read))
	runtime.KeepAlive(query)
	if read.failed {
		return nil, failure()
	}
	list := *(*abi.List[abi.String])(unsafe.Pointer(&read.value))
	return abi.Lift(list, func(text *abi.String) Object { return parse(*text) }), nil
}

func failure() error {
	reasons := [...]string{witReadErrorNotFound: "NotFound", witReadErrorForbidden: "Forbidden", witReadErrorInvalid: "Invalid", witReadErrorUnavailable: "Unavailable"}
	return &ReadError{Reason: reasons[read.value.tag], Message: abi.Text(read.value.value)}
}
