//! The host's side of the WIT worlds, generated. Nothing is written by hand here but the options, so that a change of the
//! drivers does not rebuild the bindings.
//!
//! Exports are async: a guest runs on a fiber and yields at epochs. Imports that may wait for the API are async as well, the
//! others (time, randomness, log) are plain calls. The worlds share `pintle:host`. Values serialise as they are, for the decision log.
//! A module without a version is the current one (`wit/`), one with a version a released one (`wit/released/`).

pub mod controller {
    wasmtime::component::bindgen!({
        path: ["../../../wit/host", "../../../wit/controller"],
        world: "pintle:controller/controller",
        imports: {
            "pintle:controller/objects@0.2.0": async,
        },
        exports: { default: async },
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    });
}

/// The version before. Only its watch has another shape, but `with` takes whole interfaces: whoever calls converts.
pub mod controller_0_1 {
    wasmtime::component::bindgen!({
        path: ["../../../wit/released/host@0.1.0", "../../../wit/released/controller@0.1.0"],
        world: "pintle:controller/controller",
        imports: {
            "pintle:controller/objects@0.1.0": async,
        },
        exports: { default: async },
        with: {
            "pintle:host/env@0.1.0": crate::controller::pintle::host::env,
            "pintle:host/types@0.1.0": crate::controller::pintle::host::types,
        },
    });
}

pub mod scheduler {
    wasmtime::component::bindgen!({
        path: ["../../../wit/host", "../../../wit/scheduler"],
        world: "pintle:scheduler/scheduler",
        exports: { default: async },
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        with: {
            "pintle:host/env@0.1.0": crate::controller::pintle::host::env,
            "pintle:host/types@0.1.0": crate::controller::pintle::host::types,
        },
    });
}

/// The version before. Its pod has another shape, and records hold records, so that all of its types are its own: whoever calls converts.
pub mod scheduler_0_2 {
    wasmtime::component::bindgen!({
        path: ["../../../wit/released/host@0.1.0", "../../../wit/released/scheduler@0.2.0"],
        world: "pintle:scheduler/scheduler",
        exports: { default: async },
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        with: {
            "pintle:host/env@0.1.0": crate::controller::pintle::host::env,
            "pintle:host/types@0.1.0": crate::controller::pintle::host::types,
        },
    });
}

pub mod ingress {
    wasmtime::component::bindgen!({
        path: ["../../../wit/host", "../../../wit/ingress"],
        world: "pintle:ingress/ingress",
        exports: { default: async },
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        with: {
            "pintle:host/env@0.1.0": crate::controller::pintle::host::env,
            "pintle:host/types@0.1.0": crate::controller::pintle::host::types,
        },
    });
}

pub mod admission {
    wasmtime::component::bindgen!({
        path: ["../../../wit/host", "../../../wit/admission"],
        world: "pintle:admission/admission",
        imports: {
            "pintle:admission/objects@0.1.0": async,
        },
        exports: { default: async },
        additional_derives: [PartialEq],
        with: {
            "pintle:host/env@0.1.0": crate::controller::pintle::host::env,
            "pintle:host/types@0.1.0": crate::controller::pintle::host::types,
        },
    });
}

/// What every world imports.
pub use controller::pintle::host as common;
