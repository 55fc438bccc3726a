//! Each decoder of bytes that come from outside, as a function over any bytes. A fuzzer calls them (`cargo xtask fuzz`), and the test
//! here calls them with the seeds and with what fuzzers found before.
//!
//! They check more than the absence of panics: what was understood must survive being written and read again. They hold no state but
//! what is made once, so that an input that fails once fails always.

mod bodies;
mod patches;
mod server;
mod texts;
#[cfg(feature = "tokens")]
mod tokens;

use pintle_api::object::{MAX_DEPTH, is_deeper_than};
use serde_json::Value;

/// A decoder by the name under which its seeds lie.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("json_body", bodies::json),
    ("yaml_body", bodies::yaml),
    ("protobuf_body", bodies::protobuf),
    ("patches", patches::patches),
    ("server_side_apply", patches::server_side_apply),
    ("selectors", texts::selectors),
    #[cfg(feature = "tokens")]
    ("tokens", tokens::tokens),
    ("continue_tokens", texts::continue_tokens),
    ("paths", texts::paths),
];

/// Calls the decoder of that name.
pub fn run(name: &str, input: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no decoder is named {name}"));
    target(input);
}

/// Parts of an input: no JSON, YAML or JWT holds this byte.
fn parts<const N: usize>(input: &[u8]) -> Option<[&[u8]; N]> {
    const SEPARATOR: u8 = 0xff;
    input.splitn(N, |byte| *byte == SEPARATOR).collect::<Vec<_>>().try_into().ok()
}

/// What is deeper than that is refused where it is written; all else must come out of its text as it went in.
fn assert_readable(object: &Value) {
    if !is_deeper_than(object, MAX_DEPTH) {
        let text = serde_json::to_vec(object).expect("JSON is written");
        assert_eq!(serde_json::from_slice::<Value>(&text).ok().as_ref(), Some(object), "read again, it is another object");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// `seeds/<decoder>/*` show a fuzzer what inputs look like; `found/<decoder>/*` are what failed once.
    #[test]
    fn seeds_and_earlier_finds() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (name, target) in super::TARGETS {
            let mut seeds = 0;
            for sort in ["seeds", "found"] {
                let Ok(files) = fs::read_dir(here.join(sort).join(name)) else { continue };
                for file in files {
                    let path = file.expect("a readable folder").path();
                    eprintln!("{}", path.display());
                    target(&fs::read(&path).expect("a readable file"));
                    seeds += usize::from(sort == "seeds");
                }
            }
            assert!(seeds > 0, "{name} has no seed");
        }
    }
}
