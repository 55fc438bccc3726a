//! Checks that many kinds share: labels, selectors, annotations, quantities, ports, numbers, immutable fields.
//!
//! Called by the validations of the resources; each notes its faults under the path that it is given.

use std::net::IpAddr;

use pintle_api::names;
use pintle_api::object::ObjectExt;
use pintle_api::quantity::Quantity;
use serde_json::Value;

use super::faults::{Faults, Path};
use super::fields::{is_set, same};

/// Bytes of all keys and values of `metadata.annotations` together.
const MAX_ANNOTATIONS_BYTES: usize = 256 * 1024;
pub const IMMUTABLE: &str = "field is immutable";

pub fn label_map(labels: Option<&Value>, path: &Path<'_>, faults: &mut Faults) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        faults.texts(path, key, names::qualified_name(key));
        let text = value.as_str().unwrap_or("");
        faults.texts(path, text, names::label_value(text));
    }
}

pub fn annotations(map: Option<&Value>, path: &Path<'_>, faults: &mut Faults) {
    let mut size = 0;
    for (key, value) in map.and_then(Value::as_object).into_iter().flatten() {
        faults.texts(path, key, names::qualified_name(&key.to_ascii_lowercase()));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > MAX_ANNOTATIONS_BYTES {
        faults.too_long(path, MAX_ANNOTATIONS_BYTES);
    }
}

/// A `LabelSelector`.
pub fn label_selector(selector: &Value, path: &Path<'_>, faults: &mut Faults) {
    label_map(selector.get("matchLabels"), &path.field("matchLabels"), faults);
    let list = path.field("matchExpressions");
    for (i, expression) in selector.list_at(&["matchExpressions"]).iter().enumerate() {
        selector_requirement(expression, &list.index(i), faults);
    }
}

fn selector_requirement(expression: &Value, path: &Path<'_>, faults: &mut Faults) {
    let values = expression.list_at(&["values"]);
    match expression.str_at(&["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            faults.required(&path.field("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            faults.forbidden(&path.field("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => faults.invalid_str(&path.field("operator"), other, "not a valid selector operator"),
    }
    let key = expression.str_at(&["key"]);
    faults.texts(&path.field("key"), key, names::qualified_name(key));
    let list = path.field("values");
    for (i, value) in values.iter().filter_map(Value::as_str).enumerate() {
        faults.texts(&list.index(i), value, names::label_value(value));
    }
}

pub fn is_empty_selector(selector: Option<&Value>) -> bool {
    selector.is_none_or(|s| s.map_at(&["matchLabels"]).is_none_or(serde_json::Map::is_empty) && s.list_at(&["matchExpressions"]).is_empty())
}

/// Whether a `LabelSelector` picks the labels. An empty one picks all, a missing (null) one none.
pub fn selector_matches(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return false;
    }
    let of = |key: &str| labels.get(key).and_then(Value::as_str);
    let exact = selector.map_at(&["matchLabels"]).into_iter().flatten().all(|(key, value)| of(key) == value.as_str());
    exact
        && selector.list_at(&["matchExpressions"]).iter().all(|expression| {
            let found = of(expression.str_at(&["key"]));
            let listed = || expression.list_at(&["values"]).iter().any(|v| v.as_str() == found && found.is_some());
            match expression.str_at(&["operator"]) {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

pub fn nonnegative(value: Option<&Value>, path: &Path<'_>, faults: &mut Faults) {
    if let Some(value) = value.filter(|v| v.as_i64().is_some_and(|n| n < 0)) {
        faults.invalid(path, value, "must be greater than or equal to 0");
    }
}

pub fn positive(value: Option<&Value>, path: &Path<'_>, faults: &mut Faults) {
    if value.and_then(Value::as_i64).unwrap_or(0) <= 0 {
        faults.invalid(path, value.unwrap_or(&Value::from(0)), "must be greater than 0");
    }
}

/// A number or the name of a port.
pub fn port_or_name(port: Option<&Value>, path: &Path<'_>, faults: &mut Faults) {
    match port {
        Some(Value::String(name)) => faults.texts(path, name, names::port_name(name)),
        other => {
            let number = other.and_then(Value::as_i64).unwrap_or(0);
            faults.values(path, &number.into(), names::port_number(number));
        }
    }
}

pub fn ip(text: &str, path: &Path<'_>, faults: &mut Faults) {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            faults.invalid_str(path, text, "must not be an IPv4-mapped IPv6 address");
        }
        Ok(_) => {}
        Err(_) if without_leading_zeros(text).is_some_and(|plain| plain.parse::<IpAddr>().is_ok()) => {
            faults.invalid_str(path, text, "must not have leading 0s");
        }
        Err(_) => faults.invalid_str(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
    }
}

pub fn cidr(text: &str, path: &Path<'_>, faults: &mut Faults) {
    match text.parse::<ipnet::IpNet>() {
        // The parser passes over them.
        _ if without_leading_zeros(text).is_some_and(|plain| plain.parse::<ipnet::IpNet>().is_ok()) => {
            faults.invalid_str(path, text, "must not have leading 0s in IP or prefix length");
        }
        Ok(ipnet::IpNet::V6(net)) if net.addr().to_ipv4_mapped().is_some() => {
            faults.invalid_str(path, text, "must not have an IPv4-mapped IPv6 address");
        }
        Ok(net) if net.addr() != net.network() => faults.invalid_str(path, text, "must not have bits set beyond the prefix length"),
        Ok(_) => {}
        Err(_) => faults.invalid_str(path, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
    }
}

/// The text without zeros before the numbers of an IPv4 address and of a prefix, if it has such.
pub fn without_leading_zeros(text: &str) -> Option<String> {
    if text.contains(':') {
        return None;
    }
    let trimmed = |part: &str| {
        let short = part.trim_start_matches('0');
        if short.is_empty() { "0".to_owned() } else { short.to_owned() }
    };
    let address = |text: &str| text.split('.').map(trimmed).collect::<Vec<_>>().join(".");
    let plain = match text.split_once('/') {
        Some((of, prefix)) => format!("{}/{}", address(of), trimmed(prefix)),
        None => address(text),
    };
    (plain != text).then_some(plain)
}

/// The quantity of a field; one that does not parse is noted and reads as none.
pub fn quantity(value: &Value, path: &Path<'_>, faults: &mut Faults) -> Option<Quantity> {
    match Quantity::from_value(value) {
        Ok(quantity) => Some(quantity),
        Err(fault) => {
            faults.invalid(path, value, &fault.to_string());
            None
        }
    }
}

pub fn nonnegative_quantity(value: &Value, path: &Path<'_>, faults: &mut Faults) -> Option<Quantity> {
    let quantity = quantity(value, path, faults)?;
    if quantity.is_negative() {
        faults.invalid_str(path, &quantity.to_string(), "must be greater than or equal to 0");
    }
    Some(quantity)
}

pub fn one_of(value: &str, supported: &[&str], path: &Path<'_>, faults: &mut Faults) {
    if value.is_empty() {
        faults.required(path, "");
    } else if !supported.contains(&value) {
        faults.not_supported(path, value, supported);
    }
}

/// The same for a field at `name` that a default fills in when it is missing: an empty word is as wrong as any other.
pub fn one_of_at(object: &Value, name: &str, supported: &[&str], path: &Path<'_>, faults: &mut Faults) {
    match object.get(name).and_then(Value::as_str) {
        None => faults.required(&path.field(name), ""),
        Some(word) if !supported.contains(&word) => faults.not_supported(&path.field(name), word, supported),
        Some(_) => {}
    }
}

/// The address of a load balancer in the status of Services and Ingresses.
pub fn balancer_address(address: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (text, host) = (address.str_at(&["ip"]), address.str_at(&["hostname"]));
    if !text.is_empty() {
        ip(text, &path.field("ip"), faults);
    }
    if !host.is_empty() {
        faults.texts(&path.field("hostname"), host, names::dns1123_subdomain(host));
        if host.parse::<std::net::IpAddr>().is_ok() {
            faults.invalid_str(&path.field("hostname"), host, "must be a DNS name, not an IP address");
        }
    }
}

pub fn one_of_if_set(value: &str, supported: &[&str], path: &Path<'_>, faults: &mut Faults) {
    if !value.is_empty() && !supported.contains(&value) {
        faults.not_supported(path, value, supported);
    }
}

/// The field at `field` of both objects must be the same.
pub fn immutable(new: &Value, old: &Value, field: &[&str], faults: &mut Faults) {
    let (mine, theirs) = (new.at(field), old.at(field));
    if !same(mine, theirs) {
        let dotted = field.join(".");
        faults.invalid(&Path::root(&dotted), mine.unwrap_or(&Value::Null), IMMUTABLE);
    }
}

/// The same of an object, shown as a type of `internal_types.txt`.
pub fn immutable_object(new: &Value, old: &Value, field: &[&str], kind: &str, faults: &mut Faults) {
    let (mine, theirs) = (new.at(field), old.at(field));
    if !same(mine, theirs) {
        let dotted = field.join(".");
        faults.invalid_shown(&Path::root(&dotted), &super::internal::shown(mine.unwrap_or(&Value::Null), kind), IMMUTABLE);
    }
}

/// An `IntOrString`: a number not below zero or a percentage.
pub fn int_or_percent(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    match value {
        Value::String(text) => {
            if percent(text).is_none() {
                let message = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                faults.invalid(path, value, message);
            }
        }
        number => nonnegative(Some(number), path, faults),
    }
}

pub fn not_over_100_percent(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    if value.as_str().and_then(percent).is_some_and(|p| p > 100) {
        faults.invalid(path, value, "must not be greater than 100%");
    }
}

pub fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

/// Exactly one of the fields may be set; tells how many are.
pub fn count_set(object: &Value, fields: &[&str]) -> usize {
    fields.iter().filter(|field| is_set(object.get(**field))).count()
}
