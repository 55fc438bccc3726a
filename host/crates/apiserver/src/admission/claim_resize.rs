//! PersistentVolumeClaimResize: a claim asks for more only once it is bound, and only where its class says that its volumes can grow.

use pintle_api::object::ObjectExt;
use pintle_api::quantity::Quantity;
use pintle_api::{GroupVersionResource, Object, Status};
use pintle_registry::WriteContext;

use super::{AdmissionAttributes, Operation};

const CLASSES: GroupVersionResource = GroupVersionResource::constant("storage.k8s.io", "v1", "storageclasses");
/// Where the class stood before it was a field.
const CLASS_NOTE: &str = "volume.beta.kubernetes.io/storage-class";

pub fn validate(claim: &Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<Vec<String>, Status> {
    if attributes.operation != Operation::Update || !attributes.is("", "persistentvolumeclaims") || !attributes.is_main() {
        return Ok(Vec::new());
    }
    let Some(old) = attributes.old.filter(|old| asked(claim) > asked(old)) else { return Ok(Vec::new()) };
    if old.str_at(&["status", "phase"]) != "Bound" {
        return Err(attributes.forbidden("Only bound persistent volume claims can be expanded"));
    }
    let can_grow =
        class(claim) == class(old) && context.objects.get(&CLASSES, None, class(claim)).is_some_and(|c| c.bool_at(&["allowVolumeExpansion"]));
    if can_grow {
        return Ok(Vec::new());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    Err(attributes.forbidden(why))
}

fn asked(claim: &Object) -> Option<Quantity> {
    Quantity::from_value(claim.at(&["spec", "resources", "requests", "storage"])?).ok()
}

fn class(claim: &Object) -> &str {
    claim.annotation(CLASS_NOTE).unwrap_or_else(|| claim.str_at(&["spec", "storageClassName"]))
}
