//! Which pods, keys, Ingresses or requests a canary decides: by namespace, or by a hash that stays the same over restarts and machines.

use super::spec::Canary;

/// FNV-1a's figures, 64 bits: stable, which the standard library's hasher does not promise.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    percent: u64,
    namespaces: Vec<String>,
}

impl Share {
    pub fn of(canary: Option<&Canary>) -> Self {
        let canary = canary.cloned().unwrap_or_default();
        Self { percent: u64::from(canary.percent.unwrap_or_default().min(100)), namespaces: canary.namespaces }
    }

    /// `id` is what one thing keeps for its life: a pod's uid, a key's namespace and name, an object's identity.
    pub fn holds(&self, namespace: &str, id: &str) -> bool {
        self.namespaces.iter().any(|n| n == namespace) || hash(id) % 100 < self.percent
    }
}

fn hash(text: &str) -> u64 {
    let mixed = text.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    // The low bits of FNV follow the last byte too closely: names that count up would alternate.
    mixed ^ (mixed >> 32) ^ (mixed >> 47)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_near_its_percentage_and_stays_the_same() {
        for percent in [0, 1, 10, 50, 100] {
            let share = Share::of(Some(&Canary { percent: Some(percent), namespaces: Vec::new() }));
            let held = (0..10_000).filter(|n| share.holds("n", &format!("n/web-{n}"))).count();
            assert!(held.abs_diff(percent as usize * 100) <= 150, "{percent} %: {held} of 10,000");
        }
        assert_eq!(hash("n/web-0"), hash("n/web-0"));
    }

    #[test]
    fn what_a_smaller_share_holds_a_larger_one_holds_too() {
        let share = |percent| Share::of(Some(&Canary { percent: Some(percent), namespaces: Vec::new() }));
        let ids: Vec<String> = (0..1000).map(|n| format!("n/{n}")).collect();
        assert!(ids.iter().filter(|id| share(10).holds("n", id)).all(|id| share(25).holds("n", id)));
    }

    #[test]
    fn a_namespace_is_held_whole() {
        let share = Share::of(Some(&Canary { percent: None, namespaces: vec!["staging".to_owned()] }));
        assert!((0..100).all(|n| share.holds("staging", &n.to_string()) && !share.holds("prod", &n.to_string())));
    }
}
