//! Answers of the data plane's own: short pages that name the status.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Response, StatusCode};

use crate::body::{Body, full};

pub fn page(status: StatusCode) -> Response<Body> {
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
    let text = format!("<html>\n<head><title>{title}</title></head>\n<body>\n<center><h1>{title}</h1></center>\n</body>\n</html>\n");
    let mut response = plain(status, text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

pub fn text(status: u16, body: &str) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = plain(status, Bytes::copy_from_slice(body.as_bytes()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

pub fn redirect(status: u16, location: &str) -> Response<Body> {
    let Ok(location) = HeaderValue::from_str(location) else { return page(StatusCode::INTERNAL_SERVER_ERROR) };
    let status = StatusCode::from_u16(status).ok().filter(|s| s.is_redirection()).unwrap_or(StatusCode::PERMANENT_REDIRECT);
    let mut response = page(status);
    response.headers_mut().insert(LOCATION, location);
    response
}

fn plain(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response
}
