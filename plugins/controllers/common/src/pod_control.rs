//! Making and deleting pods on behalf of an owner, with the events that tell of it.

use pintle_sdk::controller::{Api, ApiError, DeleteOptions, EventType, Failure, Resource};
use serde_json::Value;

use crate::fields::Fields;
use crate::resources::PODS;

/// A pod that is refused today may be accepted tomorrow (quota, admission): every refusal is worth another try.
pub fn create(api: &dyn Api, resource: Resource, owner: &Value, pod: &Value) -> Result<Value, Failure> {
    let event = |kind, reason, message: &str| api.event(resource, owner.namespace(), owner.name(), kind, reason, message);
    match api.create(PODS, owner.namespace(), pod) {
        Ok(created) => {
            event(EventType::Normal, "SuccessfulCreate", &format!("Created pod: {}", created.name()));
            Ok(created)
        }
        Err(error) => {
            // Nothing can be made in a namespace that is going away, and nobody needs to hear it.
            if !error.to_string().contains("because it is being terminated") {
                event(EventType::Warning, "FailedCreate", &format!("Error creating: {error}"));
            }
            Err(Failure::Retry(error.to_string()))
        }
    }
}

/// A pod that is gone already is as good as deleted.
pub fn delete(api: &dyn Api, resource: Resource, owner: &Value, pod: &Value) -> Result<(), Failure> {
    let event = |kind, reason, message: &str| api.event(resource, owner.namespace(), owner.name(), kind, reason, message);
    match api.delete(PODS, pod.namespace(), pod.name(), &DeleteOptions { uid: pod.uid(), ..DeleteOptions::default() }) {
        Ok(()) => {
            event(EventType::Normal, "SuccessfulDelete", &format!("Deleted pod: {}", pod.name()));
            Ok(())
        }
        Err(ApiError::NotFound(_)) => Ok(()),
        Err(error) => {
            event(EventType::Warning, "FailedDelete", &format!("Error deleting: {error}"));
            Err(Failure::Retry(error.to_string()))
        }
    }
}
