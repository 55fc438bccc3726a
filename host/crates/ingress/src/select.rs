//! Which backend of a route a request goes to: the route's own, or a canary by header, by cookie, by share.

use http::HeaderMap;
use http::header::COOKIE;
use rand::Rng;

use crate::table::Canary;

/// nginx's precedence: a header decides before a cookie, a cookie before the weight.
pub fn canary(canaries: &[Canary], headers: &HeaderMap) -> Option<u32> {
    canaries.iter().find(|canary| chosen(canary, headers, &mut rand::rng())).map(|canary| canary.backend)
}

fn chosen(canary: &Canary, headers: &HeaderMap, random: &mut impl Rng) -> bool {
    if let Some((name, wanted)) = &canary.header
        && let Some(value) = headers.get(name.as_str()).and_then(|v| v.to_str().ok())
    {
        match (wanted.as_str(), value) {
            ("", "always") => return true,
            ("", "never") => return false,
            (wanted, value) if !wanted.is_empty() && wanted == value => return true,
            _ => {}
        }
    }
    match canary.cookie.as_deref().and_then(|name| cookie(headers, name)) {
        Some("always") => return true,
        Some("never") => return false,
        _ => {}
    }
    canary.weight_total > 0 && canary.weight > 0 && random.random_range(0..canary.weight_total) < canary.weight
}

pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|v| v.to_str().ok());
    lines.flat_map(|l| l.split(';')).find_map(|pair| pair.trim().split_once('=').filter(|(n, _)| *n == name).map(|(_, value)| value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_then_cookie_then_weight() {
        let canary = |weight, header: Option<(&str, &str)>, cookie: Option<&str>| Canary {
            backend: 7,
            weight,
            weight_total: 100,
            header: header.map(|(n, v)| (n.to_owned(), v.to_owned())),
            cookie: cookie.map(str::to_owned),
        };
        let goes = |canary: Canary, headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            super::canary(&[canary], &map).is_some()
        };
        assert!(goes(canary(100, None, None), &[]));
        assert!(!goes(canary(0, None, None), &[]));
        assert!(goes(canary(0, Some(("x-c", "")), None), &[("x-c", "always")]));
        assert!(!goes(canary(100, Some(("x-c", "")), None), &[("x-c", "never")]));
        assert!(goes(canary(0, Some(("x-c", "blue")), None), &[("x-c", "blue")]));
        assert!(!goes(canary(0, Some(("x-c", "blue")), None), &[("x-c", "always")]));
        assert!(goes(canary(0, None, Some("who")), &[("cookie", "a=b; who=always")]));
        assert!(!goes(canary(100, None, Some("who")), &[("cookie", "who=never")]));
    }

    #[test]
    fn a_share_is_a_share() {
        let canary = Canary { weight: 20, weight_total: 100, ..Canary::default() };
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        use rand::SeedableRng;
        let count = (0..10_000).filter(|_| chosen(&canary, &HeaderMap::new(), &mut random)).count();
        assert!((1_800..2_200).contains(&count), "{count}");
    }
}
