//! The connection canaries go through: an ordinary client of the proxy, kept warm so that a proof does not wait for a handshake. Never
//! trusts another certificate than the one this process serves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio_util::sync::CancellationToken;

use super::super::Admin;
use super::control::locked;
use super::dial::Dialler;
use crate::config::edge::ProxyProtocol;
use crate::policy::feed::ProxyListener;
use crate::policy::guests::Guests;

type Http = Client<Dialler, Full<Bytes>>;

// A refusal is a few hundred bytes; whatever is larger is none.
const LARGEST_ANSWER: usize = 64 * 1024;
const IDLE: Duration = Duration::from_secs(90);
// Shorter than the time after which the proxy closes an idle connection.
const KEEP_WARM: Duration = Duration::from_secs(5);
const PING: Duration = Duration::from_secs(2);
// Until a listener is bound.
const AT_START: Duration = Duration::from_millis(50);

/// How canaries come in: the name they ask for, and whether the listener wants to hear first who speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::admin) struct Manner {
    /// The first of the configured hosts.
    pub host: String,
    /// A PROXY header comes first.
    pub announced: bool,
}

/// The clients of the canaries, one for each listener.
pub(in crate::admin) struct Line {
    held: Mutex<HashMap<String, (Manner, Http)>>,
    largest: usize,
    idle: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self::of(LARGEST_ANSWER, 2)
    }
}

impl Line {
    /// A line that takes answers of so many bytes, and keeps so many connections to a listener.
    pub(in crate::admin) fn of(largest: usize, idle: usize) -> Self {
        Self { held: Mutex::default(), largest, idle }
    }

    /// Sends a request to a listener; gives status and body.
    ///
    /// # Errors
    /// A sentence; the next attempt begins with a new connection.
    pub(in crate::admin) async fn send(
        &self,
        listener: &ProxyListener,
        (manner, guests): (&Manner, &Guests),
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let sent = self.try_send(listener, (manner, guests), request, body).await;
        if sent.is_err() {
            locked(&self.held).remove(&listener.name);
        }
        sent
    }

    async fn try_send(
        &self,
        listener: &ProxyListener,
        (manner, guests): (&Manner, &Guests),
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let mut request: Request<Full<Bytes>> = request.body(Full::new(body)).map_err(|e| e.to_string())?;
        let authority = authority(listener, manner);
        // Where it goes is the dialler's affair; the client wants a whole address nevertheless.
        let target = format!("http://{authority}{}", request.uri().path());
        *request.uri_mut() = target.parse().map_err(|e: http::uri::InvalidUri| e.to_string())?;
        request.headers_mut().insert(HOST, HeaderValue::try_from(authority).map_err(|e| e.to_string())?);
        let answer = self.client(listener, manner, guests)?.request(request).await.map_err(|e| e.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), self.largest).collect().await.map_err(|e| e.to_string())?;
        Ok((status, body.to_bytes()))
    }

    fn client(&self, listener: &ProxyListener, manner: &Manner, guests: &Guests) -> Result<Http, String> {
        let mut held = locked(&self.held);
        if let Some((_, client)) = held.get(&listener.name).filter(|(known, _)| known == manner) {
            return Ok(client.clone());
        }
        let dialler = Dialler::new(&listener.way, manner, guests).map_err(|fault| fault.message)?;
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(self.idle);
        let client: Http = builder.build(dialler);
        held.insert(listener.name.clone(), (manner.clone(), client.clone()));
        Ok(client)
    }
}

/// The host that a client names at a listener.
pub(in crate::admin) fn authority(listener: &ProxyListener, manner: &Manner) -> String {
    let name = if manner.host.contains(':') { format!("[{}]", manner.host) } else { manner.host.clone() };
    match listener.address() {
        Some(address) => format!("{name}:{}", address.port()),
        None => name,
    }
}

/// How a canary comes in now.
pub(in crate::admin) fn manner(admin: &Admin) -> Manner {
    let listen = &admin.feed.snapshot().settings.listen;
    let host = listen.hosts.first().cloned().unwrap_or_else(|| "localhost".to_owned());
    Manner { host, announced: listen.proxy_protocol.proxy != ProxyProtocol::Off }
}

/// The task that keeps one connection per listener open, so that a proof costs one round trip. Runs until `stop`.
pub async fn keep_warm(admin: Arc<Admin>, stop: CancellationToken) {
    loop {
        let manner = manner(&admin);
        let listeners = admin.feed.listeners();
        for listener in listeners.iter().filter(|_| !admin.feed.is_draining()) {
            let ping = admin.kill.line.send(listener, (&manner, admin.feed.guests()), Request::get("/health"), Bytes::new());
            if let Ok(Err(fault)) = tokio::time::timeout(PING, ping).await {
                tracing::warn!(listener = listener.name, %fault, "no connection to prove a kill through");
            }
        }
        let pause = if listeners.is_empty() { AT_START } else { KEEP_WARM };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
