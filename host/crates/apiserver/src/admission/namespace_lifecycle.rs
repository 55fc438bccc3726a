//! NamespaceLifecycle: nothing is made in a namespace that does not exist or that ends, and the namespaces that the
//! cluster stands on are not deleted.

use pintle_api::object::ObjectExt;
use pintle_api::{Cause, CauseKind, GroupVersionResource, Object, Status};
use pintle_registry::WriteContext;

use super::{AdmissionAttributes, Operation};

const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub fn admit(_object: &mut Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<(), Status> {
    match attributes.operation {
        Operation::Delete if attributes.is("", "namespaces") && IMMORTAL.contains(&attributes.name) => {
            Err(attributes.forbidden("this namespace may not be deleted"))
        }
        Operation::Create if !attributes.namespace.is_empty() && attributes.resource.is_stored() => creation(attributes, context),
        _ => Ok(()),
    }
}

fn creation(attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<(), Status> {
    let name = attributes.namespace;
    let Some(namespace) = context.objects.get(&NAMESPACES, None, name) else {
        return Err(Status::not_found("", "namespaces", name));
    };
    if !namespace.is_being_deleted() && namespace.str_at(&["status", "phase"]) != "Terminating" {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {name} because it is being terminated");
    let mut status = attributes.forbidden(&why);
    let cause = Cause::new(CauseKind::NamespaceTerminating, "metadata.namespace", format!("namespace {name} is being terminated"));
    status.details_mut().causes = vec![cause];
    Err(status)
}
