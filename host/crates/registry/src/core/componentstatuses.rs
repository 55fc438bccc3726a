//! `v1` ComponentStatus: an old view of the control plane's health, read only.

use pintle_api::object::ObjectExt;

use crate::def::cluster;
use crate::kind::Kind;
use crate::print::{NAME, text};

pub fn kind() -> Kind {
    let def = cluster("v1", "componentstatuses", "ComponentStatus").short(&["cs"]).verbs(&["get", "list"]);
    Kind::new(def).table(
        &[NAME, text("Status", "Whether it is healthy."), text("Message", "What it says."), text("Error", "What is wrong.")],
        |component, _| {
            let healthy = component.list_at(&["conditions"]).iter().find(|c| c.str_at(&["type"]) == "Healthy");
            let (state, message, error) = healthy.map_or(("Unknown", "", ""), |c| {
                let state = if c.str_at(&["status"]) == "True" { "Healthy" } else { "Unhealthy" };
                (state, c.str_at(&["message"]), c.str_at(&["error"]))
            });
            vec![component.name().into(), state.into(), message.into(), error.into()]
        },
    )
}
