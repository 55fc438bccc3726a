// An admission policy for pintle: a ConfigMap gets the label `{{name}}/owner` with who made it, and nobody else may take that away.
//
// rules says which requests the policy is asked about and in which turn: while an object may still be changed, or when it is as it will be
// stored. admit answers one of them. Whether a failure of the policy refuses the request or lets it pass, and in which namespaces it counts,
// stands in plugin.json (`admission`), as in a webhook's configuration.
package main

import (
	"strings"

	"pintle.dev/sdk/admission"
)

var configMaps = admission.Resource{Version: "v1", Name: "configmaps"}

const label = "{{name}}/owner"

func rules() ([]admission.Rule, error) {
	return []admission.Rule{
		admission.Writes(configMaps, admission.Mutate).On(admission.Create),
		admission.Writes(configMaps, admission.Validate).On(admission.Update),
	}, nil
}

func admit(cluster admission.Cluster, request *admission.Request) admission.Response {
	owner := strings.ReplaceAll(request.User.Username, ":", ".")
	if request.Phase == admission.Mutate {
		request.Object.Set(owner, "metadata", "labels", label)
		return admission.Change(request.Object)
	}
	before, after := request.OldObject.Text("metadata", "labels", label), request.Object.Text("metadata", "labels", label)
	if before != after && before != owner {
		return admission.Deny("only " + before + " may change the label " + label)
	}
	return admission.Allow()
}

var policy = admission.Policy{Rules: rules, Admit: admit}

func init() { admission.Use(policy) }

// The component has no main function of its own; Go wants one.
func main() {}
