//! One HTTPS request at a time, trusting only the deployment's CA. Never follows a redirect by itself.

use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use lifeboat_peers::tls::Dialer;

/// What came back.
pub struct Answer {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub body: String,
}

impl Answer {
    /// A header as text, or nothing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `name=value` of each cookie that was set, ready for a Cookie header.
    pub fn cookies(&self) -> String {
        let set = self.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
        set.filter_map(|cookie| cookie.split(';').next()).collect::<Vec<_>>().join("; ")
    }
}

/// GET without a credential.
pub fn get(authority: &str, ca: &Path, path: &str) -> std::io::Result<Answer> {
    send(authority, ca, Request::get(path), String::new())
}

/// A form as a browser posts it from the same origin.
pub fn post_form(authority: &str, ca: &Path, path: &str, cookies: &str, fields: &[(&str, &str)]) -> std::io::Result<Answer> {
    let request = Request::post(path)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", format!("https://{authority}"))
        .header("sec-fetch-site", "same-origin")
        .header("cookie", cookies);
    send(authority, ca, request, form(fields))
}

/// JSON with an operator API key.
pub fn post_api(authority: &str, ca: &Path, path: &str, key: &str, body: &serde_json::Value) -> std::io::Result<Answer> {
    let request = Request::post(path).header("content-type", "application/json").header("authorization", format!("Bearer {key}"));
    send(authority, ca, request, body.to_string())
}

/// Sends one request on a connection of its own. Runs on a thread and a runtime of its own, so plain and asynchronous tests can call it.
pub fn send(authority: &str, ca: &Path, request: hyper::http::request::Builder, body: String) -> std::io::Result<Answer> {
    std::thread::scope(|threads| threads.spawn(|| exchange(authority, ca, request, body)).join().expect("the exchange panicked"))
}

fn exchange(authority: &str, ca: &Path, request: hyper::http::request::Builder, body: String) -> std::io::Result<Answer> {
    let dialer = Dialer::new(authority, ca, &[])?;
    let request = request.header("host", authority).body(Full::<Bytes>::from(body)).map_err(std::io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let exchange = async {
            let stream = dialer.dial().await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
            let driver = tokio::spawn(connection);
            let answer = sender.send_request(request).await.map_err(std::io::Error::other)?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
            driver.abort();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: crate::harness::text(&body) })
        };
        tokio::time::timeout(std::time::Duration::from_secs(15), exchange).await.map_err(std::io::Error::other)?
    })
}

fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    pairs.join("&")
}

fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
