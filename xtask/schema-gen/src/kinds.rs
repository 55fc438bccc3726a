//! The kinds that pintle knows without a CustomResourceDefinition, and the schemas of all types that they reach.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    admissionregistration::v1 as admissionregistration, apps::v1 as apps, authentication::v1 as authentication, authorization::v1 as authorization,
    autoscaling::v1 as autoscaling, autoscaling::v2 as autoscaling_v2, batch::v1 as batch, certificates::v1 as certificates,
    coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery, events::v1 as events, flowcontrol::v1 as flowcontrol,
    networking::v1 as networking, node::v1 as node, policy::v1 as policy, rbac::v1 as rbac, resource::v1 as resource, scheduling::v1 as scheduling,
    storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use k8s_openapi::apimachinery::pkg::version::Info;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;
use k8s_openapi::{ListableResource, Resource};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

/// All definitions by name, and the kind that a definition is, as `apiVersion kind`.
pub struct Collected {
    pub definitions: BTreeMap<String, Value>,
    pub kinds: BTreeMap<String, (String, String)>,
}

struct Collector {
    generator: SchemaGenerator,
    lists: BTreeMap<String, Value>,
    kinds: BTreeMap<String, (String, String)>,
}

pub fn collect() -> Collected {
    let mut collector = Collector { generator: SchemaGenerator::default(), lists: BTreeMap::new(), kinds: BTreeMap::new() };
    add_kinds(&mut collector);
    add_metadata_types(&mut collector);
    let mut definitions: BTreeMap<String, Value> = collector.generator.take_definitions(true).into_iter().collect();
    definitions.extend(collector.lists);
    Collected { definitions, kinds: collector.kinds }
}

macro_rules! listed {
    ($collector:ident: $($module:ident { $($kind:ident)* })*) => { $($( $collector.listed::<$module::$kind>(); )*)* };
}
macro_rules! single {
    ($collector:ident: $($module:ident { $($kind:ident)* })*) => { $($( $collector.kind::<$module::$kind>(); )*)* };
}
macro_rules! plain {
    ($collector:ident: $($module:ident { $($kind:ident)* })*) => { $($( $collector.plain::<$module::$kind>(); )*)* };
}

fn add_kinds(collector: &mut Collector) {
    listed!(collector:
        core { ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume PersistentVolumeClaim Pod
               PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount }
        admissionregistration { MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration
               ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration }
        apps { ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet }
        autoscaling { HorizontalPodAutoscaler }
        autoscaling_v2 { HorizontalPodAutoscaler }
        batch { CronJob Job }
        certificates { CertificateSigningRequest }
        coordination { Lease }
        discovery { EndpointSlice }
        events { Event }
        flowcontrol { FlowSchema PriorityLevelConfiguration }
        networking { Ingress IngressClass IPAddress NetworkPolicy ServiceCIDR }
        node { RuntimeClass }
        policy { PodDisruptionBudget }
        rbac { ClusterRole ClusterRoleBinding Role RoleBinding }
        resource { DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice }
        scheduling { PriorityClass }
        storage { CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass }
        apiextensions { CustomResourceDefinition }
        apiregistration { APIService });
    single!(collector:
        core { Binding }
        authentication { SelfSubjectReview TokenRequest TokenReview }
        authorization { LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview }
        autoscaling { Scale }
        policy { Eviction }
        meta { APIGroup APIGroupList APIResourceList APIVersions Status });
}

/// Types that are no resource of their own, yet bodies or answers of requests.
fn add_metadata_types(collector: &mut Collector) {
    plain!(collector: meta { DeleteOptions ObjectMeta ListMeta Patch });
    collector.plain::<meta::WatchEvent<RawExtension>>();
    collector.plain::<Info>();
}

impl Collector {
    fn plain<T: JsonSchema>(&mut self) {
        self.generator.subschema_for::<T>();
    }

    fn kind<T: JsonSchema + Resource>(&mut self) {
        self.generator.subschema_for::<T>();
        self.kinds.insert(T::schema_name().into_owned(), (T::API_VERSION.to_owned(), T::KIND.to_owned()));
    }

    /// k8s-openapi's list type is generic and has no schema, so the list's definition is made here.
    fn listed<T: JsonSchema + ListableResource>(&mut self) {
        self.kind::<T>();
        let item = T::schema_name().into_owned();
        let name = format!("{item}List");
        let schema = json!({
            "type": "object",
            "description": format!("{} is a collection of {} objects.", T::LIST_KIND, T::KIND),
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string", "description": "The version of this representation of the list."},
                "items": {"type": "array", "items": {"$ref": format!("#/$defs/{item}")}, "description": "The objects of the list."},
                "kind": {"type": "string", "description": "The kind that this list is."},
                "metadata": {
                    "$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta",
                    "description": "Standard list metadata: the revision that the list was read at and how to go on.",
                },
            },
        });
        self.kinds.insert(name.clone(), (T::API_VERSION.to_owned(), T::LIST_KIND.to_owned()));
        self.lists.insert(name, schema);
    }
}
