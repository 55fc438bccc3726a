//! `url`, `isURL` and the parts of URLs, read as Go's `net/url` reads a request's URI: absolute, or a path from the root.

use std::collections::{BTreeMap, HashMap};

use cel::common::types::{CelBool, CelMap, CelMapKey, CelString};
use cel::common::value::Val;
use cel::{DeclarationError, Env, ExecutionError};

use super::{failed, opaque, texts};
use crate::meter::charge_text;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    /// Of an URL that has no path: `mailto:a@b`.
    opaque: String,
    user: String,
    host: String,
    path: String,
    query: String,
    fragment: String,
}

opaque!(Url, "kubernetes.URL");

pub fn register(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_overload!(env, fn url: (CelString) -> Result<Url>)?;
    cel::add_overload!(env, fn is_url: (CelString) -> Result<CelBool>, name = "isURL")?;
    cel::add_member_overload!(env, fn get_scheme: (Url) -> CelString)?;
    cel::add_member_overload!(env, fn get_host: (Url) -> CelString)?;
    cel::add_member_overload!(env, fn get_hostname: (Url) -> CelString)?;
    cel::add_member_overload!(env, fn get_port: (Url) -> CelString)?;
    cel::add_member_overload!(env, fn get_escaped_path: (Url) -> CelString)?;
    cel::add_member_overload!(env, fn get_query: (Url) -> CelMap)
}

/// What is wrong with a text that is no request URI; in Go's words.
pub fn fault(text: &str) -> Option<String> {
    parse(text, true).err().map(|why| format!("parse {text:?}: {why}"))
}

fn parse(text: &str, of_request: bool) -> Result<Url, String> {
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    if text.is_empty() {
        return Err("empty url".to_owned());
    }
    let (text, fragment) = if of_request { (text, "") } else { text.split_once('#').unwrap_or((text, "")) };
    let (scheme, rest) = split_scheme(text)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut url = Url { scheme: scheme.to_ascii_lowercase(), query: query.to_owned(), fragment: fragment.to_owned(), ..Url::default() };
    if !rest.starts_with('/') {
        if !scheme.is_empty() {
            url.opaque = rest.to_owned();
            return Ok(url);
        }
        return if of_request { Err("invalid URI for request".to_owned()) } else { Ok(Url { path: rest.to_owned(), ..url }) };
    }
    let mut path = rest;
    if (!scheme.is_empty() || !of_request && !rest.starts_with("///"))
        && let Some(from_host) = rest.strip_prefix("//")
    {
        let end = from_host.find('/').unwrap_or(from_host.len());
        (url.user, url.host) = authority(&from_host[..end])?;
        path = &from_host[end..];
    }
    let plain = unescaped(path).ok_or_else(|| format!("invalid URL escape {path:?}"))?;
    url.path = if path.bytes().all(is_path_byte) { path.to_owned() } else { escaped_path(&plain) };
    Ok(url)
}

fn split_scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

/// User and host of what stands between the slashes.
fn authority(text: &str) -> Result<(String, String), String> {
    let (user, host) = text.rsplit_once('@').unwrap_or(("", text));
    if !user.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b)) || unescaped(user).is_none() {
        return Err("net/url: invalid userinfo".to_owned());
    }
    let (name, port) = if host.starts_with('[') {
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        (&host[..end], &host[end + 1..])
    } else {
        host.split_at(host.rfind(':').unwrap_or(host.len()))
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
    if !is_port {
        return Err(format!("invalid port {port:?} after host"));
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || b >= 0x80 || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&b);
    if let Some(bad) = name.bytes().find(|b| !good(*b)) {
        return Err(format!("invalid character {:?} in host name", char::from(bad).to_string()));
    }
    // Bytes outside ASCII alone may be escaped in a host's name.
    let escapes_ascii = name
        .split('%')
        .skip(1)
        .any(|rest| !rest.starts_with("25") && !rest.starts_with(['8', '9', 'a', 'b', 'c', 'd', 'e', 'f', 'A', 'B', 'C', 'D', 'E', 'F']));
    let plain = unescaped(host).filter(|_| !escapes_ascii).ok_or_else(|| format!("invalid URL escape in host {host:?}"))?;
    Ok((user.to_owned(), String::from_utf8_lossy(&plain).into_owned()))
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

/// Go keeps a path as it was written where all it has is allowed there.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@[]/%".contains(&byte)
}

fn escaped_path(plain: &[u8]) -> String {
    let mut out = String::with_capacity(plain.len());
    for &byte in plain {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn url(text: &CelString<'_>) -> Result<Url, ExecutionError> {
    charge_text(text.inner())?;
    let failed = |why: String| failed("url", format!("URL parse error during conversion from string: {why}"));
    if let Some(why) = fault(text.inner()) {
        return Err(failed(why));
    }
    parse(text.inner(), false).map_err(failed)
}

fn is_url(text: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    charge_text(text.inner())?;
    Ok(fault(text.inner()).is_none().into())
}

fn get_scheme(url: &Url) -> CelString<'static> {
    url.scheme.clone().into()
}

fn get_host(url: &Url) -> CelString<'static> {
    url.host.clone().into()
}

impl Url {
    fn host_and_port(&self) -> (&str, &str) {
        match self.host.rfind(':').filter(|colon| self.host.rfind(']').is_none_or(|end| end < *colon)) {
            Some(colon) => (&self.host[..colon], &self.host[colon + 1..]),
            None => (&self.host, ""),
        }
    }
}

fn get_hostname(url: &Url) -> CelString<'static> {
    let (name, _) = url.host_and_port();
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).to_owned().into()
}

fn get_port(url: &Url) -> CelString<'static> {
    url.host_and_port().1.to_owned().into()
}

fn get_escaped_path(url: &Url) -> CelString<'static> {
    url.path.clone().into()
}

fn get_query(url: &Url) -> CelMap<'static> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let plain = |text: &str| unescaped(&text.replace('+', " ")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    for pair in url.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(key), Some(value)) = (plain(key), plain(value)) {
            all.entry(key).or_default().push(value);
        }
    }
    let entry = |(key, values): (String, Vec<String>)| (CelMapKey::String(CelString::from(key)), Box::new(texts(values)) as Box<dyn Val>);
    all.into_iter().map(entry).collect::<HashMap<_, _>>().into()
}
