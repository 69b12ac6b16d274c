//! Load against the proxy. Four modes: calls at a fixed rate that does not wait for answers, the same only timed, strangers without a key,
//! and `initialize` over and over.
//!
//! Common: `--url https://127.0.0.1:PORT/mcp/SERVER --ca FILE --connections N --seconds N`.
//! Calls: `--key-file F --rate N --tool T [--tool-mix READ:WRITE [--write-tool T]] [--arguments JSON] [--era modern|legacy] [--h2] --out FILE
//! [--tag TEXT] [--timeout-ms N] [--retry-connect] [--fresh] [--stop-on-eof]`. Prints `started` at the first answer, one summary line at the end.
//! Timed: `--pulse --key-file F --rate N [--tool T] [--bytes N]`; prints percentiles in microseconds.
//! Strangers: `--no-key --rate N`. Sessions: `--initialize N --clients FILE` (one key a line).

mod calls;
mod pulse;
mod sessions;
mod strangers;

use std::io::{Error, Result};
use std::path::Path;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::flags::{Flags, fail};
use crate::tls::Dialer;

/// Runs the mode that the flags ask for.
pub async fn run(flags: &Flags) -> Result<()> {
    if flags.has("initialize") {
        sessions::run(flags).await
    } else if flags.has("no-key") {
        strangers::run(flags).await
    } else if flags.has("pulse") {
        pulse::run(flags).await
    } else {
        calls::run(flags).await
    }
}

/// Where the load goes.
#[derive(Clone)]
struct Target {
    dialer: Dialer,
    path: String,
}

impl Target {
    fn of(flags: &Flags, alpn: &[&str]) -> Result<Self> {
        let Some(rest) = flags.need("url").strip_prefix("https://") else { fail("--url wants https://") };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Self { dialer: Dialer::new(authority, Path::new(flags.need("ca")), alpn)?, path: format!("/{path}") })
    }

    /// One HTTP/1.1 connection, driven in the background.
    async fn connect(&self) -> Result<http1::SendRequest<Full<Bytes>>> {
        let stream = self.dialer.dial().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Error::other)?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// A POST with what every MCP message carries.
    fn post(&self, key: Option<&str>) -> hyper::http::request::Builder {
        let builder = hyper::Request::post(&self.path)
            .header("host", self.dialer.authority())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        match key {
            Some(key) => builder.header("authorization", format!("Bearer {key}")),
            None => builder,
        }
    }
}
