//! DefaultStorageClass and DefaultIngressClass: what names no class gets the one that is marked as default.

use std::sync::Arc;

use pintle_api::object::ObjectExt;
use pintle_api::{GroupVersionResource, Object, Status};
use pintle_registry::WriteContext;

use super::{AdmissionAttributes, Operation};

const STORAGE: GroupVersionResource = GroupVersionResource::constant("storage.k8s.io", "v1", "storageclasses");
const INGRESS: GroupVersionResource = GroupVersionResource::constant("networking.k8s.io", "v1", "ingressclasses");
const STORAGE_MARK: &str = "storageclass.kubernetes.io/is-default-class";
const STORAGE_MARK_BETA: &str = "storageclass.beta.kubernetes.io/is-default-class";
const INGRESS_MARK: &str = "ingressclass.kubernetes.io/is-default-class";
const INGRESS_CLASS_NOTE: &str = "kubernetes.io/ingress.class";

pub fn storage(claim: &mut Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<(), Status> {
    let creates = attributes.operation == Operation::Create && attributes.is_main();
    if !creates || !attributes.is("", "persistentvolumeclaims") || claim.at(&["spec", "storageClassName"]).is_some_and(|c| !c.is_null()) {
        return Ok(());
    }
    let is_default = |c: &Object| [STORAGE_MARK, STORAGE_MARK_BETA].iter().any(|mark| c.annotation(mark) == Some("true"));
    if let Some(class) = newest(context.objects.list(&STORAGE, None), is_default) {
        claim.set_at(&["spec", "storageClassName"], class.name().into());
    }
    Ok(())
}

pub fn ingress(ingress: &mut Object, attributes: &AdmissionAttributes<'_>, context: &WriteContext<'_>) -> Result<(), Status> {
    let creates = attributes.operation == Operation::Create && attributes.is_main();
    let named = ingress.at(&["spec", "ingressClassName"]).is_some_and(|c| !c.is_null()) || ingress.annotation(INGRESS_CLASS_NOTE).is_some();
    if !creates || !attributes.is("networking.k8s.io", "ingresses") || named {
        return Ok(());
    }
    let is_default = |c: &Object| c.annotation(INGRESS_MARK) == Some("true");
    if let Some(class) = newest(context.objects.list(&INGRESS, None), is_default) {
        ingress.set_at(&["spec", "ingressClassName"], class.name().into());
    }
    Ok(())
}

/// The youngest of the marked classes; of the same age, the first by name.
fn newest(classes: Vec<Arc<Object>>, is_default: impl Fn(&Object) -> bool) -> Option<Arc<Object>> {
    let mut marked: Vec<Arc<Object>> = classes.into_iter().filter(|class| is_default(class)).collect();
    marked.sort_by(|a, b| {
        let made = |c: &Object| c.str_at(&["metadata", "creationTimestamp"]).to_owned();
        made(b).cmp(&made(a)).then_with(|| a.name().cmp(b.name()))
    });
    marked.into_iter().next()
}
