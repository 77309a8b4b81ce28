//! `GET` and `HEAD /_ping`.

use crate::http::{Response, full};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA};

/// `OK`.
pub fn serve(head: bool) -> Response {
    let mut response = Response::new(full(if head { "" } else { "OK" }));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // Builder 1 is the classic one: clients then do not look for BuildKit here.
    headers.insert("builder-version", HeaderValue::from_static("1"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    response
}
