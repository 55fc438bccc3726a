//! `v1` PodTemplate.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use crate::def::namespaced;
use crate::faults::Path;
use crate::kind::Kind;
use crate::podspec::{default_template, validate_template};
use crate::print::{self, NAME, text};
use crate::warnings;

pub fn kind() -> Kind {
    Kind {
        generation: true,
        warn: warnings::pod_template,
        template: "/template",
        default: |object| {
            if let Some(fields) = object.as_object_mut() {
                default_template(fields);
            }
        },
        validate: |object, faults| validate_template(object.get("template").unwrap_or(&Value::Null), &Path::root("template"), faults),
        ..Kind::new(namespaced("v1", "podtemplates", "PodTemplate")).table(
            &[
                NAME,
                text("Containers", "Names of the containers."),
                text("Images", "Images of the containers."),
                text("Pod Labels", "Labels of the pods."),
            ],
            |object, _| {
                let template = object.get("template").unwrap_or(&Value::Null);
                let [containers, images] = print::containers(template);
                vec![object.name().into(), containers, images, print::labels(template.map_at(&["metadata", "labels"]))]
            },
        )
    }
}
