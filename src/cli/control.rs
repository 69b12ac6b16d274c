//! The way from a command to the verbs: HTTP over the control socket of a running Lifeboat. Never decides, never retries.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::base::fault::{Fault, FaultKind, Verb};
use crate::config::paths::DataDir;

/// A connection to a running Lifeboat.
pub(super) struct Control {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    token: String,
}

const PATIENCE: Duration = Duration::from_secs(120);

impl Control {
    /// Connects; `None` when nobody listens on the socket.
    ///
    /// # Errors
    /// When somebody listens but the token cannot be read or the handshake fails.
    pub(super) async fn connect(data: &DataDir) -> Verb<Option<Self>> {
        let Ok(stream) = tokio::net::UnixStream::connect(data.socket()).await else { return Ok(None) };
        let token = std::fs::read_to_string(data.socket_token()).map_err(|cause| {
            Fault::denied(format!("{} cannot be read, so the control socket stays shut", data.socket_token().display()))
                .because(cause)
        })?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(async move { connection.await.ok() });
        Ok(Some(Self { sender, token: token.trim().to_owned() }))
    }

    /// Performs one verb and gives its document as it came; one that `lasts` is waited for however long it takes.
    ///
    /// # Errors
    /// The verb's own fault, or `Unavailable` when the connection breaks.
    pub(super) async fn call(&mut self, method: Method, path: &str, body: Option<&Value>, lasts: bool) -> Verb<String> {
        let asked = self.send(method, path, body);
        let response = if lasts {
            asked.await?
        } else {
            let silent = |_| Fault::unavailable("Lifeboat did not answer on its control socket in 120 s");
            tokio::time::timeout(PATIENCE, asked).await.map_err(silent)??
        };
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(broken)?.to_bytes();
        document(status, &bytes)
    }

    /// Performs one verb that answers with lines, and hands over each line as it comes.
    ///
    /// # Errors
    /// As `call`.
    pub(super) async fn lines(&mut self, path: &str, mut each: impl FnMut(&str)) -> Verb<()> {
        let mut body = self.send(Method::GET, path, None).await?.into_body();
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            rest.extend_from_slice(&data);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                each(String::from_utf8_lossy(&line).trim_end());
            }
        }
        Ok(())
    }

    async fn send(&mut self, method: Method, path: &str, body: Option<&Value>) -> Verb<http::Response<hyper::body::Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("lifeboat-socket-token", &self.token)
            .header("content-type", "application/json")
            .body(Full::new(body.map(|value| Bytes::from(value.to_string())).unwrap_or_default()))
            .map_err(|cause| Fault::bug("a request that cannot be built").because(cause))?;
        self.sender.send_request(request).await.map_err(broken)
    }
}

fn broken(cause: hyper::Error) -> Fault {
    Fault::unavailable("the control socket broke off; see whether Lifeboat still runs").because(cause)
}

/// The document of a good answer, or the fault of a bad one.
///
/// # Errors
/// The fault that the API wrote down.
pub(super) fn document(status: StatusCode, bytes: &[u8]) -> Verb<String> {
    if status.is_success() {
        return Ok(String::from_utf8_lossy(bytes).into_owned());
    }
    Err(fault_of(status, &serde_json::from_slice(bytes).unwrap_or(Value::Null)))
}

/// Turns the error body of the API back into the fault it came from.
fn fault_of(status: StatusCode, value: &Value) -> Fault {
    let error = &value["error"];
    let message = error["message"].as_str().map_or_else(|| format!("Lifeboat answered {status}"), str::to_owned);
    let mut fault = Fault::new(error["kind"].as_str().map_or(FaultKind::Unavailable, FaultKind::from_word), message);
    fault.place = error["where"].as_str().map(str::to_owned);
    fault
}
