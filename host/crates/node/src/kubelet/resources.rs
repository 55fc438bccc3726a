//! Quantities, quality-of-service classes and what they mean for cgroups and the out-of-memory killer. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

type Amounts = BTreeMap<String, Quantity>;

/// Period of the CPU quota, in microseconds.
pub const CPU_PERIOD_US: i64 = 100_000;
/// The kernel's least CPU shares and least quota (microseconds).
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
const MIN_QUOTA_US: i64 = 1000;

/// A quantity in thousandths (`500m` is 500, `1Ki` is 1,024,000); malformed text counts as nothing.
pub fn milli(quantity: &str) -> i128 {
    let text = quantity.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+' || c == '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let thousand = |n: u32| 1000_i128.pow(n);
    let (factor, divisor): (i128, i128) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1000),
        "m" => (1, 1),
        "" => (1000, 1),
        "k" => (thousand(2), 1),
        "M" => (thousand(3), 1),
        "G" => (thousand(4), 1),
        "T" => (thousand(5), 1),
        "P" => (thousand(6), 1),
        "E" => (thousand(7), 1),
        "Ki" => (1000 << 10, 1),
        "Mi" => (1000 << 20, 1),
        "Gi" => (1000 << 30, 1),
        "Ti" => (1000_i128 << 40, 1),
        "Pi" => (1000_i128 << 50, 1),
        "Ei" => (1000_i128 << 60, 1),
        exponent => match exponent.trim_start_matches(['e', 'E']).parse::<u32>() {
            Ok(n) if n < 19 => (1000 * 10_i128.pow(n), 1),
            _ => return 0,
        },
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = &fraction[..fraction.len().min(9)];
    let scale = 10_i128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let negative = whole.starts_with('-');
    let Ok(whole) = format!("0{}", whole.trim_start_matches(['-', '+'])).parse::<i128>() else { return 0 };
    let Ok(part) = format!("0{fraction}").parse::<i128>() else { return 0 };
    let value = whole.saturating_mul(scale).saturating_add(part).saturating_mul(factor);
    // Rounded up, as upstream does when it lowers precision.
    let value = (value + scale * divisor - 1) / (scale * divisor);
    if negative { -value } else { value }
}

/// Whole units, rounded up.
pub fn units(quantity: &str) -> i64 {
    i64::try_from((milli(quantity) + 999).div_euclid(1000)).unwrap_or(i64::MAX)
}

fn amount(of: Option<&Amounts>, name: &str) -> Option<i128> {
    of?.get(name).map(|q| milli(&q.0)).filter(|v| *v != 0)
}

pub fn request_milli(c: &Container, name: &str) -> i128 {
    amount(c.resources.as_ref().and_then(|r| r.requests.as_ref()), name).unwrap_or(0)
}

pub fn limit_milli(c: &Container, name: &str) -> Option<i128> {
    amount(c.resources.as_ref().and_then(|r| r.limits.as_ref()), name)
}

pub fn qos_class(spec: &PodSpec) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    if let Some(r) = spec.resources.as_ref().filter(|r| r.requests.is_some() || r.limits.is_some()) {
        let (requests, limits) = (r.requests.as_ref(), r.limits.as_ref());
        let same = ["cpu", "memory"].iter().all(|n| amount(limits, n).is_some() && amount(requests, n).or(amount(limits, n)) == amount(limits, n));
        return if same { "Guaranteed" } else { "Burstable" };
    }
    for c in spec.init_containers.iter().flatten().chain(&spec.containers) {
        let requests = c.resources.as_ref().and_then(|r| r.requests.as_ref());
        let limits = c.resources.as_ref().and_then(|r| r.limits.as_ref());
        for name in ["cpu", "memory"] {
            let (request, limit) = (amount(requests, name), amount(limits, name));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|r| Some(r) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// What the whole pod asks for: the larger of its containers' sum and each init step (sidecars run on beside both).
pub fn pod_total(spec: &PodSpec, of: impl Fn(&Container) -> i128) -> i128 {
    let mut sidecars = 0;
    let mut peak = 0;
    for c in spec.init_containers.iter().flatten() {
        if c.restart_policy.as_deref() == Some("Always") {
            sidecars += of(c);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + of(c));
        }
    }
    let apps: i128 = spec.containers.iter().map(of).sum();
    peak.max(apps + sidecars)
}

pub fn shares(milli_cpu: i128) -> i64 {
    if milli_cpu <= 0 {
        return MIN_SHARES;
    }
    i64::try_from(milli_cpu * 1024 / 1000).unwrap_or(MAX_SHARES).clamp(MIN_SHARES, MAX_SHARES)
}

/// Quota for a CPU limit; zero: none.
pub fn quota_us(milli_cpu: Option<i128>) -> i64 {
    match milli_cpu {
        None | Some(0) => 0,
        Some(m) => i64::try_from(m * i128::from(CPU_PERIOD_US) / 1000).unwrap_or(0).max(MIN_QUOTA_US),
    }
}

/// The out-of-memory killer's preference: the less of the node a burstable container asked for, the sooner it goes.
pub fn oom_score_adj(spec: &PodSpec, c: &Container, node_memory_bytes: i64) -> i64 {
    match qos_class(spec) {
        _ if spec.priority.is_some_and(|p| p >= 2_000_000_000) => -997,
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let asked = i64::try_from(request_milli(c, "memory") / 1000).unwrap_or(0);
            let adj = 1000 - 1000 * asked / node_memory_bytes.max(1);
            adj.clamp(3, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        let cases = [
            ("100m", 100),
            ("1", 1000),
            ("1.5", 1500),
            ("1Ki", 1_024_000),
            ("2e3", 2_000_000),
            ("0.1", 100),
            ("1n", 1),
            ("x", 0),
            ("128974848", 128_974_848_000),
        ];
        for (text, expected) in cases {
            assert_eq!(milli(text), expected, "{text}");
        }
        assert_eq!((units("1500m"), shares(100), quota_us(Some(250)), quota_us(None)), (2, 102, 25_000, 0));
    }
}
