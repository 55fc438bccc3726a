//! Links in what a proxied backend answers, made to lead through the proxy again: `Location` and the attributes of HTML that
//! hold addresses. Everything else passes as it is.

use std::io::Read as _;

use bytes::Bytes;
use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use http_body_util::{BodyExt as _, Limited};
use pintle_api::{Reason, Status};

use super::{Body, Response};

/// A page of more bytes, packed or not, is refused: it cannot be held to be rewritten.
const MAX_PAGE_BYTES: usize = 16 << 20;

/// Where the client and the server behind the proxy find each other.
pub struct Through {
    /// `/api/v1/namespaces/a/pods/b:80/proxy`
    pub prefix: String,
    /// As the client names this server, and this server the backend.
    pub client_host: String,
    pub backend_host: String,
}

/// The backend's answer with its links leading through the proxy.
pub async fn rewrite(mut response: Response, through: &Through) -> Result<Response, Status> {
    if let Some(location) = response.headers().get(LOCATION) {
        let led = location.to_str().ok().map(|l| through.lead(l)).and_then(|l| HeaderValue::from_str(&l).ok());
        if let Some(led) = led {
            response.headers_mut().insert(LOCATION, led);
        }
        return Ok(response);
    }
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    if !content_type.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("text/html") {
        return Ok(response);
    }
    let encoding = response.headers().get(CONTENT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    if !matches!(encoding.as_str(), "" | "gzip" | "deflate") {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    let page = Limited::new(body, MAX_PAGE_BYTES).collect().await.map_err(|why| failed(&why.to_string()))?.to_bytes();
    let page = unpacked(&encoding, page)?;
    parts.headers.remove(CONTENT_ENCODING);
    parts.headers.remove(CONTENT_LENGTH);
    Ok(Response::from_parts(parts, Body::Full(rewrite_page(page, through))))
}

impl Through {
    /// A link as the client must see it. Relative ones and those to other hosts are right already.
    pub fn lead(&self, link: &str) -> String {
        let (host, path) = match link.split_once("://") {
            Some(("http" | "https", rest)) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                (&rest[..end], &rest[end..])
            }
            Some(_) => return link.to_owned(),
            None if link.starts_with("//") => {
                let end = link[2..].find('/').map_or(link.len(), |at| at + 2);
                (&link[2..end], &link[end..])
            }
            None => ("", link),
        };
        let other_host = !host.is_empty() && host != self.client_host && host != self.backend_host;
        if other_host || !path.starts_with('/') {
            return link.to_owned();
        }
        // A link back to this server by its full address stays one.
        let server = if host.is_empty() { String::new() } else { format!("https://{}", self.client_host) };
        if path.starts_with(&self.prefix) { format!("{server}{path}") } else { format!("{server}{}{path}", self.prefix) }
    }
}

fn unpacked(encoding: &str, page: Bytes) -> Result<Bytes, Status> {
    let mut plain = Vec::new();
    let limit = MAX_PAGE_BYTES as u64 + 1;
    let read = match encoding {
        "gzip" => flate2::read::GzDecoder::new(&*page).take(limit).read_to_end(&mut plain),
        "deflate" => flate2::read::DeflateDecoder::new(&*page).take(limit).read_to_end(&mut plain),
        _ => return Ok(page),
    };
    match read {
        Ok(size) if size <= MAX_PAGE_BYTES => Ok(plain.into()),
        Ok(_) => Err(failed("the page is too large")),
        Err(why) => Err(failed(&why.to_string())),
    }
}

fn failed(why: &str) -> Status {
    Status::new(503, Reason::ServiceUnavailable, format!("error trying to reach service: {why}"))
}

/// The same page with the values of its links changed in place.
fn rewrite_page(page: Bytes, through: &Through) -> Bytes {
    let mut out = Vec::with_capacity(page.len());
    let mut done = 0;
    for (start, end, led) in links(&page, through) {
        if start < done {
            continue;
        }
        out.extend_from_slice(&page[done..start]);
        out.extend_from_slice(led.as_bytes());
        done = end;
    }
    if done == 0 {
        return page;
    }
    out.extend_from_slice(&page[done..]);
    out.into()
}

/// Where links stand that are to be changed, and into what.
fn links(page: &[u8], through: &Through) -> Vec<(usize, usize, String)> {
    let (mut tag, mut attribute) = (Vec::new(), Vec::new());
    let visit = |event: CallbackEvent<'_>, span: Span<usize>| {
        match event {
            CallbackEvent::OpenStartTag { name } => tag = name.to_owned(),
            CallbackEvent::AttributeName { name } => attribute = name.to_owned(),
            // What does not stand there literally (entities) is left alone.
            CallbackEvent::AttributeValue { value } if holds_link(&tag, &attribute) && page.get(span.start..span.end) == Some(value) => {
                let link = std::str::from_utf8(value).ok()?;
                let led = through.lead(link);
                return (led != link).then_some((span.start, span.end, led));
            }
            CallbackEvent::EndTag { .. } => tag.clear(),
            _ => {}
        }
        None
    };
    let mut emitter = CallbackEmitter::new(visit);
    emitter.naively_switch_states(true);
    Tokenizer::new_with_emitter(page, emitter).flatten().collect()
}

fn holds_link(tag: &[u8], attribute: &[u8]) -> bool {
    matches!(
        (tag, attribute),
        (b"a" | b"area" | b"base" | b"link", b"href")
            | (b"applet" | b"object", b"codebase")
            | (b"audio" | b"embed" | b"frame" | b"iframe" | b"img" | b"input" | b"script" | b"source" | b"video", b"src")
            | (b"blockquote" | b"del" | b"ins" | b"q", b"cite")
            | (b"body", b"background")
            | (b"button" | b"input", b"formaction")
            | (b"command", b"icon")
            | (b"form", b"action")
            | (b"frame" | b"iframe" | b"img", b"longdesc")
            | (b"head", b"profile")
            | (b"html", b"manifest")
            | (b"img" | b"input" | b"object", b"usemap")
            | (b"object", b"classid" | b"data")
            | (b"video", b"poster")
    )
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn through() -> Through {
        Through { prefix: "/api/v1/namespaces/n/pods/http:p:80/proxy".into(), client_host: "api:6443".into(), backend_host: "10.0.0.1:80".into() }
    }

    fn check(page: &'static str, expected: Expect) {
        let rewritten = rewrite_page(Bytes::from_static(page.as_bytes()), &through());
        expected.assert_eq(std::str::from_utf8(&rewritten).unwrap());
    }

    #[test]
    fn pages() {
        check("<a href=\"/rewriteme\">test</a>", expect![[r#"<a href="/api/v1/namespaces/n/pods/http:p:80/proxy/rewriteme">test</a>"#]]);
        check(
            "<!DOCTYPE html>\n<p class=x>ä</p><IMG alt='/y' src=/x.png><a href='relative'>r</a><script>var a = '<a href=\"/no\">';</script>\n",
            expect![[r#"
                <!DOCTYPE html>
                <p class=x>ä</p><IMG alt='/y' src=/api/v1/namespaces/n/pods/http:p:80/proxy/x.png><a href='relative'>r</a><script>var a = '<a href="/no">';</script>
            "#]],
        );
        check(
            "<form action=\"/a\"><a href=\"/b?q=1#f\">",
            expect![[r#"<form action="/api/v1/namespaces/n/pods/http:p:80/proxy/a"><a href="/api/v1/namespaces/n/pods/http:p:80/proxy/b?q=1#f">"#]],
        );
    }

    #[test]
    fn locations() {
        let check = |link: &str, expected: Expect| expected.assert_eq(&through().lead(link));
        check("/x/", expect!["/api/v1/namespaces/n/pods/http:p:80/proxy/x/"]);
        check("x", expect!["x"]);
        check("http://10.0.0.1:80/x", expect!["https://api:6443/api/v1/namespaces/n/pods/http:p:80/proxy/x"]);
        check("http://example.com/x", expect!["http://example.com/x"]);
        check("/api/v1/namespaces/n/pods/http:p:80/proxy/x", expect!["/api/v1/namespaces/n/pods/http:p:80/proxy/x"]);
    }
}
