// Package admission is what an author of an admission policy imports: say what to be asked about, answer one write, and hand both to Use.
//
//	func init() { admission.Use(admission.Policy{Rules: rules, Admit: admit}) }
//
// The host asks before a write is stored, in its own process: what a webhook's pod does, without the pod. Several instances of a component
// answer side by side, and any may end after any call, so nothing that a decision hangs on may be kept in variables: read it from the cluster.
package admission

import "errors"

// Policy is what an author writes.
type Policy struct {
	// Rules says what to be asked about. Called once when the component is loaded; an error refuses it with its words. `env.Config` is
	// `spec.config` of the Plugin.
	Rules func() ([]Rule, error)
	// Admit says what becomes of one write. A call that panics or comes too late counts as a failure, and `spec.admission.failurePolicy`
	// decides. A policy that never uses the cluster needs no grants.
	Admit func(cluster Cluster, request *Request) Response
}

// Use makes a policy the component's, or the test's. Call it from an init function.
func Use(policy Policy) { used = policy }

var used Policy

func (p *Policy) rules() ([]Rule, error) {
	if p.Rules == nil || p.Admit == nil {
		return nil, errors.New("the policy has no Rules or no Admit: hand both to admission.Use in an init function")
	}
	return p.Rules()
}

// Cluster is what the policy may read, as far as its grants reach. Reads see every write that was acknowledged. Errors are *ReadError.
type Cluster interface {
	Get(resource Resource, namespace, name string) (Object, error)
	List(query Query) ([]Object, error)
}

// Query is what to list. Empty fields leave nothing out.
type Query struct {
	Resource  Resource
	Namespace string
	// Labels is a selector such as `a=b,c in (d,e)`.
	Labels string
	Fields string
}

// ReadError is what became of a read that gave nothing.
type ReadError struct {
	// Reason is `NotFound`, `Forbidden` (not granted), `Invalid` (a selector, or no such resource) or `Unavailable`.
	Reason  string
	Message string
}

func (e *ReadError) Error() string { return e.Message }

// IsNotFound tells that there is no such object.
func IsNotFound(err error) bool {
	read, is := err.(*ReadError)
	return is && read.Reason == "NotFound"
}
