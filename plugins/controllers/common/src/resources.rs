//! The resources that the default controllers read and write.

use pintle_sdk::controller::Resource;

pub const PODS: Resource = Resource::new("", "v1", "pods");
pub const NODES: Resource = Resource::new("", "v1", "nodes");
pub const NAMESPACES: Resource = Resource::new("", "v1", "namespaces");
pub const SERVICES: Resource = Resource::new("", "v1", "services");
pub const ENDPOINTS: Resource = Resource::new("", "v1", "endpoints");
pub const PERSISTENT_VOLUME_CLAIMS: Resource = Resource::new("", "v1", "persistentvolumeclaims");
pub const PERSISTENT_VOLUMES: Resource = Resource::new("", "v1", "persistentvolumes");
pub const REPLICATION_CONTROLLERS: Resource = Resource::new("", "v1", "replicationcontrollers");
pub const REPLICA_SETS: Resource = Resource::new("apps", "v1", "replicasets");
pub const DEPLOYMENTS: Resource = Resource::new("apps", "v1", "deployments");
pub const DAEMON_SETS: Resource = Resource::new("apps", "v1", "daemonsets");
pub const STATEFUL_SETS: Resource = Resource::new("apps", "v1", "statefulsets");
pub const CONTROLLER_REVISIONS: Resource = Resource::new("apps", "v1", "controllerrevisions");
pub const JOBS: Resource = Resource::new("batch", "v1", "jobs");
pub const CRON_JOBS: Resource = Resource::new("batch", "v1", "cronjobs");
pub const ENDPOINT_SLICES: Resource = Resource::new("discovery.k8s.io", "v1", "endpointslices");
pub const LEASES: Resource = Resource::new("coordination.k8s.io", "v1", "leases");
pub const POD_DISRUPTION_BUDGETS: Resource = Resource::new("policy", "v1", "poddisruptionbudgets");
pub const STORAGE_CLASSES: Resource = Resource::new("storage.k8s.io", "v1", "storageclasses");
