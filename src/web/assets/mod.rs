//! The files under `static/`, compiled in and named by their digest. Never serves a path that is not in the list.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

#[derive(rust_embed::RustEmbed)]
#[folder = "static"]
struct Files;

#[derive(Debug)]
struct File {
    bytes: Vec<u8>,
    kind: &'static str,
    etag: String,
    link: Link,
}

/// How a page names an asset.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// `/static/NAME?v=DIGEST`.
    pub url: String,
    /// Value of the `integrity` attribute.
    pub integrity: String,
}

/// What every page links.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// The sheet.
    pub css: Link,
    /// Scripts, in order: htmx, its extensions, our own.
    pub scripts: Vec<Link>,
    /// The icon while nothing is stopped.
    pub icon: String,
    /// The icon while everything is stopped.
    pub icon_stopped: String,
}

const SERVED: [&str; 3] = [".css", ".js", ".svg"];
const SCRIPTS: [&str; 4] = ["vendor/htmx.min.js", "vendor/hx-csp.min.js", "vendor/hx-sse.min.js", "app.js"];

static ALL: LazyLock<BTreeMap<String, File>> = LazyLock::new(|| {
    let read = |name: &str| Files::get(name).map(|file| (name.to_owned(), describe(name, file.data.into_owned())));
    Files::iter().filter(|name| SERVED.iter().any(|kind| name.ends_with(kind))).filter_map(|name| read(&name)).collect()
});

static LINKS: LazyLock<Links> = LazyLock::new(|| {
    let link = |name: &str| ALL.get(name).map(|file| file.link.clone()).unwrap_or_default();
    Links {
        css: link("app.css"),
        scripts: SCRIPTS.iter().map(|name| link(name)).collect(),
        icon: link("favicon.svg").url,
        icon_stopped: link("favicon-stopped.svg").url,
    }
});

fn describe(name: &str, bytes: Vec<u8>) -> File {
    let digest = STANDARD.encode(Sha256::digest(&bytes));
    let short: String = digest.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    let kind = match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        _ => "image/svg+xml",
    };
    let link = Link { url: format!("/static/{name}?v={short}"), integrity: format!("sha256-{digest}") };
    File { bytes, kind, etag: format!("\"{short}\""), link }
}

/// What every page links.
pub fn links() -> &'static Links {
    &LINKS
}

/// Answers `/static/NAME`.
pub fn serve(name: &str, query: Option<&str>, headers: &HeaderMap) -> Response {
    let Some(file) = ALL.get(name) else { return StatusCode::NOT_FOUND.into_response() };
    // Only a name with the right digest is for ever; without it the file may be another after an upgrade.
    let exact = query.is_some_and(|query| file.link.url.ends_with(query));
    let keep = if exact { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = if headers.get(header::IF_NONE_MATCH).is_some_and(|tag| tag == file.etag.as_str()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(file.bytes.clone()))
    };
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    crate::web::page::put(out, header::ETAG, &file.etag);
    response
}

#[cfg(test)]
mod tests;
