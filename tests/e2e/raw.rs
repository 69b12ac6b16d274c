//! A client that speaks MCP by hand and keeps every byte: to Lifeboat over TLS, or straight to a server for comparison. Interprets nothing it
//! is not asked for.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;

use crate::harness::{Lifeboat, text};
use crate::https::{self, Answer};

/// Where it speaks to.
pub enum Peer {
    /// `/mcp/SERVER` of a deployment, with a key.
    Lifeboat { authority: String, ca: std::path::PathBuf, path: String, key: String },
    /// A server itself, without TLS: its authority; the path is `/mcp`.
    Direct(String),
}

/// A client with at most one legacy session.
pub struct Raw {
    peer: Peer,
    session: Option<String>,
}

const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";

impl Raw {
    /// A client of a server behind Lifeboat.
    pub fn through(lifeboat: &Lifeboat, server: &str, key: &str) -> Self {
        let (authority, ca, key) = (lifeboat.proxy.clone(), lifeboat.ca(), key.to_owned());
        Self { peer: Peer::Lifeboat { authority, ca, path: format!("/mcp/{server}"), key }, session: None }
    }

    /// A client of the server on a port of loopback.
    pub fn direct(port: u16) -> Self {
        Self { peer: Peer::Direct(format!("127.0.0.1:{port}")), session: None }
    }

    /// POSTs a body with further headers.
    pub fn post(&self, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = match &self.peer {
            Peer::Lifeboat { path, key, .. } => Request::post(path).header("authorization", format!("Bearer {key}")),
            Peer::Direct(_) => Request::post("/mcp"),
        };
        request = request.header("content-type", "application/json").header("accept", "application/json, text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match &self.peer {
            Peer::Lifeboat { authority, ca, .. } => https::send(authority, ca, request, body.to_owned()).unwrap(),
            Peer::Direct(authority) => plain(authority, request, body.to_owned()),
        }
    }

    /// The legacy handshake; its session, where the server begins one, is used from here on.
    pub fn initialize(&mut self) -> Answer {
        let params = format!(r#"{{"protocolVersion":"{LEGACY}","capabilities":{{}},"clientInfo":{{"name":"raw","version":"1"}}}}"#);
        let answer = self.post(&[], &format!(r#"{{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{params}}}"#));
        assert_eq!(answer.status, 200, "{}", answer.body);
        self.session = answer.header("mcp-session-id").map(str::to_owned);
        let noted = self.legacy(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        assert_eq!(noted.status, 202, "{}", noted.body);
        answer
    }

    /// A message of the legacy era, in the session.
    pub fn legacy(&self, body: &str) -> Answer {
        let mut headers = vec![("mcp-protocol-version", LEGACY)];
        headers.extend(self.session.as_deref().map(|id| ("mcp-session-id", id)));
        self.post(&headers, body)
    }

    /// A request of the modern era; `params` are the members before `_meta`, with a comma after each.
    pub fn modern(&self, method: &str, name: Option<&str>, params: &str) -> Answer {
        let meta = format!(
            r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientCapabilities":{{}},"io.modelcontextprotocol/clientInfo":{{"name":"raw","version":"1"}}}}"#
        );
        let mut headers = vec![("mcp-protocol-version", MODERN), ("mcp-method", method)];
        headers.extend(name.map(|name| ("mcp-name", name)));
        self.post(&headers, &format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{{params}{meta}}}}}"#))
    }
}

/// The message in an answer: its body, or the data of the last event that has any.
pub fn message(answer: &Answer) -> String {
    if !answer.header("content-type").unwrap_or_default().starts_with("text/event-stream") {
        return answer.body.clone();
    }
    let mut data = answer.body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| !data.is_empty());
    data.next_back().unwrap_or_default().to_owned()
}

fn plain(authority: &str, request: hyper::http::request::Builder, body: String) -> Answer {
    let request = request.header("host", authority).body(Full::<Bytes>::from(body)).unwrap();
    let exchange = async {
        let stream = tokio::net::TcpStream::connect(authority).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        driver.abort();
        Answer { status: head.status.as_u16(), headers: head.headers, body: text(&body) }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(std::time::Duration::from_secs(15), exchange).await.unwrap() })
}
