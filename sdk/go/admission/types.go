package admission

// Resource is a served resource: group (empty for core), version, plural name.
type Resource struct{ Group, Version, Name string }

// Kind is a group, a version and a kind.
type Kind struct{ Group, Version, Kind string }

// Operation is what is asked for.
type Operation uint8

const (
	Create Operation = iota
	Update
	Delete
	Connect
)

// Phase is in which of its two turns the policy is asked. The object is defaulted and checked against its schema in between.
type Phase uint8

const (
	// Mutate may change the object, or refuse it.
	Mutate Phase = iota
	// Validate may only refuse: the object is as it will be stored.
	Validate
)

// Scope leaves resources out by whether they have namespaces.
type Scope uint8

const (
	AnyScope Scope = iota
	ClusterScoped
	Namespaced
)

// Rule is a set of requests to be asked about. A list must not be empty; `*` in it stands for everything.
type Rule struct {
	Phases      []Phase
	Operations  []Operation
	APIGroups   []string
	APIVersions []string
	// Resources are `pods`, `pods/status`, `*/*`.
	Resources []string
	Scope     Scope
}

// Writes are creations and updates of one resource, in these turns.
func Writes(resource Resource, phases ...Phase) Rule {
	return Rule{
		Phases:      phases,
		Operations:  []Operation{Create, Update},
		APIGroups:   []string{resource.Group},
		APIVersions: []string{resource.Version},
		Resources:   []string{resource.Name},
	}
}

// On is the rule for other operations.
func (r Rule) On(operations ...Operation) Rule {
	r.Operations = operations
	return r
}

// User is who asks.
type User struct {
	Username, UID string
	Groups        []string
	Extra         map[string][]string
}

// Request is one write. Objects that are not there are nil.
type Request struct {
	Phase     Phase
	Operation Operation
	Kind      Kind
	Resource  Resource
	// Subresource is empty for the object itself.
	Subresource string
	// RequestKind and RequestResource are what was asked for, where that is another version than the policy's rules name.
	RequestKind     Kind
	RequestResource Resource
	// Name is empty where one is yet to be generated.
	Name string
	// Namespace is empty for cluster-scoped objects.
	Namespace string
	User      User
	// Object is the object to be; the options of a `Connect`.
	Object Object
	// OldObject is the object as it is stored.
	OldObject Object
	// DryRun: nothing is stored in the end.
	DryRun  bool
	Options Object
}

// Response is what becomes of a write.
type Response struct {
	// Refusal is nil where the write may go on.
	Refusal *Refusal
	// Changed is the whole object, changed, or nil. For Mutate alone.
	Changed Object
	// Warnings are for whoever asked.
	Warnings []string
	// AuditAnnotations have keys without a prefix: the plugin's name is put before them.
	AuditAnnotations map[string]string
}

// Refusal says why not, in the terms of a Status.
type Refusal struct {
	// Code is HTTP's, 400 to 599; 403 for 0.
	Code    uint16
	Reason  string
	Message string
}

// Allow lets the write go on as it is.
func Allow() Response { return Response{} }

// Change lets the write go on with another object, which may be the request's own that was changed.
func Change(object Object) Response { return Response{Changed: object} }

// Deny refuses the write: 403 Forbidden.
func Deny(message string) Response {
	return Response{Refusal: &Refusal{Code: 403, Reason: "Forbidden", Message: message}}
}
