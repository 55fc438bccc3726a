//! What can be wrong with a plugin before it runs is a condition that says so.

use expect_test::expect;
use serde_json::json;

use crate::guests;
use crate::harness::{Bench, controller_spec, inline};

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_has_its_words() {
    let bench = Bench::start(Vec::new());
    let importing = |interface: &str| {
        guests::from_text(&format!(
            r#"(component
            (import "{interface}" (instance))
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func (export "reconcile") (canon lift (core func $i "f"))))"#
        ))
    };
    let other_world = guests::from_text(
        r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func (export "greet") (canon lift (core func $i "f"))))"#,
    );
    let bad_type = guests::from_text(
        r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func (export "reconcile") (canon lift (core func $i "f"))))"#,
    );
    let of_tomorrow = guests::from_text(
        r#"(component
            (import "pintle:host/env@0.1.0" (instance))
            (import "pintle:scheduler/types@0.9.0" (instance))
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func (export "schedule") (canon lift (core func $i "f"))))"#,
    );
    let mut wrong_digest = controller_spec(guests::controller());
    wrong_digest["digest"] = "sha256:00".into();
    let mut ungranted = controller_spec(guests::controller());
    ungranted["grants"] = json!([]);
    let scheduler = json!({"world": "scheduler", "source": inline(guests::scheduler()), "config": "upside-down", "grants": [
        {"apiGroups": ["*"], "resources": ["*", "*/*"], "verbs": ["*"]}]});
    let cases = [
        ("text", controller_spec(b"hello"), "NotAComponent"),
        ("core", controller_spec(&guests::core_module()), "NotAComponent"),
        ("cut", controller_spec(&guests::controller()[..5000]), "NotAComponent"),
        ("scheduler", controller_spec(guests::scheduler()), "WrongWorld"),
        ("other", controller_spec(&other_world), "WrongWorld"),
        ("sockets", controller_spec(&importing("wasi:sockets/network@0.2.0")), "UngrantedImport"),
        ("web", controller_spec(&importing("wasi:http/outgoing-handler@0.2.0")), "UngrantedImport"),
        ("world", controller_spec(&importing("pintle:admission/objects@0.1.0")), "UngrantedImport"),
        ("type", controller_spec(&bad_type), "Incompatible"),
        ("version", json!({"world": "scheduler", "source": inline(&of_tomorrow)}), "UnsupportedVersion"),
        ("digest", wrong_digest, "DigestMismatch"),
        ("grants", ungranted, "MissingGrant"),
        ("config", scheduler, "BadConfiguration"),
        ("escape", json!({"world": "controller", "source": {"file": "../../etc/passwd"}}), "SourceUnavailable"),
        ("nothing", json!({"world": "controller", "source": {}}), "SourceUnavailable"),
    ];
    let mut told = String::new();
    for (name, spec, reason) in cases {
        bench.apply(name, spec);
        let message = bench.condition(name, "Loaded", "False", reason).await;
        let folder = bench.folder.path().display().to_string();
        let digest = pintle_digest(guests::controller());
        let message = message.lines().next().unwrap_or_default().replace(&folder, "DIR").replace(&digest, "DIGEST");
        // Where a cut file ends depends on the compiler.
        let message = message.split(": section range").next().unwrap_or_default().to_owned();
        told.push_str(&format!("{name}: {message}\n"));
    }
    expect![[r#"
        text: not a component: the file does not begin like WebAssembly
        core: is a core module, not a component: encode it with `pintle plugin build` or `wasm-tools component new`
        cut: not a component: failed to parse WebAssembly module: wasm component contains an invalid module section
        scheduler: is of the world scheduler, but the Plugin says controller
        other: exports no world that pintle knows: a scheduler exports `schedule`, a controller `reconcile`, an ingress controller `compile`, an admission policy `admit`; this exports greet
        sockets: imports wasi:sockets/network@0.2.0, which no plugin of the world controller is given
        web: imports wasi:http/outgoing-handler@0.2.0, which no plugin of the world controller is given
        world: imports pintle:admission/objects@0.1.0, which no plugin of the world controller is given
        type: does not fit the world controller: type-checking export func `reconcile`: expected 1-tuple, found 0-tuple
        version: was built against pintle:scheduler@0.9.0; this host links pintle:scheduler@0.2.0 and 0.3.0
        digest: its digest is DIGEST, but the Plugin says sha256:00
        grants: the grants lack list on configmaps, which it watches
        config: refuses its configuration: unknown order "upside-down"
        escape: source: file must be a name in DIR/plugins/components, not "../../etc/passwd"
        nothing: source: exactly one of inline, file, embedded, digest, https and oci must be given, not 0
    "#]]
    .assert_eq(&told);
}

fn pintle_digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    let hex: String = sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}
