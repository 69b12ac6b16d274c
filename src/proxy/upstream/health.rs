//! Whether an HTTP server is well, found out over one conversation that is kept: a server is asked in its own era, a legacy one within one
//! session. Never begins a session for each look, never calls a tool, and asks nothing of a server that is answering calls anyway.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::super::probe::{self, Posted};
use super::breaker::Breaker;
use super::http_leg::HttpLeg;
use super::{LegParts, note};
use crate::base::ids::SharedEntropy;
use crate::config::settings::Upstream;
use crate::mcp::era::LEGACY_VERSIONS;
use crate::policy::feed::{Feed, ServerState};

/// A look that takes longer has failed.
const WAIT: Duration = Duration::from_secs(10);
/// A server that was just added or configured anew is looked at after about this time.
const FIRST: Duration = Duration::from_secs(2);
/// While looks are switched off, the settings are read again this often.
const OFF: Duration = Duration::from_secs(5);
/// A server that is down is looked at this often, so that it is back soon after it is back.
const DOWN: Duration = Duration::from_secs(2);
const BRIEF: Duration = Duration::from_secs(2);
/// Of each question.
const ID: &str = "lifeboat-health";

/// What is known of a server, told to the feed when it changes.
pub struct Word {
    name: Arc<str>,
    feed: Arc<Feed>,
    up: AtomicBool,
    telling: Mutex<()>,
    fell: Notify,
}

impl Word {
    /// Nothing yet.
    pub fn new(name: Arc<str>, feed: Arc<Feed>) -> Self {
        Self { name, feed, up: AtomicBool::new(false), telling: Mutex::new(()), fell: Notify::new() }
    }

    /// It answered.
    pub fn well(&self) {
        if !self.up.load(Ordering::Relaxed) {
            let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
            self.up.store(true, Ordering::Relaxed);
            self.tell("up", "");
        }
    }

    /// It did not, and why.
    pub fn ill(&self, why: &str) {
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        if self.up.swap(false, Ordering::Relaxed) {
            self.fell.notify_one();
        }
        self.tell("down", why);
    }

    fn tell(&self, state: &'static str, detail: &str) {
        let told = ServerState { state, detail: detail.to_owned(), sandbox: String::new() };
        if self.feed.server(&self.name).as_ref() != Some(&told) {
            self.feed.set_server(&self.name, told);
        }
    }
}

/// Task: looks at a server until `over`.
pub(super) async fn keep(leg: Arc<HttpLeg>, breaker: Arc<Breaker>, parts: LegParts, over: CancellationToken) {
    let mut talk = Talk::New;
    let mut pause = jittered(FIRST, &parts.entropy);
    while let Some(fell) = over.run_until_cancelled(rest(&leg, pause)).await {
        if fell {
            pause = jittered(DOWN, &parts.entropy);
            continue;
        }
        let limits = parts.feed.snapshot().settings.upstream.clone();
        if limits.health_seconds == 0 {
            pause = OFF;
            continue;
        }
        let Some(well) = over.run_until_cancelled(look(&leg, &mut talk, &limits)).await else { break };
        if well {
            note(&parts, &leg.name, breaker.seen_well(), "it answers again");
        }
        let between = Duration::from_secs(limits.health_seconds);
        pause = jittered(if well { between } else { DOWN.min(between) }, &parts.entropy);
    }
    // A server that does not hear of it lets the session expire.
    drop(tokio::time::timeout(BRIEF, talk.part(&leg)).await);
}

/// Waits for the next look; true when a call found the server down meanwhile.
async fn rest(leg: &HttpLeg, pause: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(pause) => false,
        () = leg.word.fell.notified() => true,
    }
}

/// Whether it is well, as far as one look tells.
async fn look(leg: &HttpLeg, talk: &mut Talk, limits: &Upstream) -> bool {
    if leg.word.up.load(Ordering::Relaxed) && leg.answered_within(Duration::from_secs(limits.health_seconds)) {
        return true;
    }
    match tokio::time::timeout(WAIT, talk.ask(leg)).await {
        Ok(Ok(())) => {
            leg.word.well();
            true
        }
        Ok(Err(why)) => {
            leg.word.ill(&why);
            false
        }
        // A server that does one thing at a time answers nothing else while it does.
        Err(_) if leg.is_busy(limits) => true,
        Err(_) => {
            leg.word.ill("it did not answer in time");
            false
        }
    }
}

/// The conversation with one server.
enum Talk {
    New,
    Modern,
    Legacy { session: Option<HeaderValue>, version: String },
}

impl Talk {
    /// Asks once. A server that has forgotten the session (it was started anew) gets one more, and only one.
    async fn ask(&mut self, leg: &HttpLeg) -> Result<(), String> {
        match self {
            Self::New => return self.begin(leg).await,
            Self::Modern => {
                if answers(&probe::discover(leg, ID).await?)? {
                    return Ok(());
                }
            }
            Self::Legacy { session, version } => {
                let ping = probe::message(ID, "ping", json!({}), false);
                let pong = probe::post(leg, &ping, None, version, session.as_ref()).await?;
                let forgotten = session.is_some() && matches!(pong.status, 400 | 404);
                if !forgotten {
                    // What does not know `ping` is alive all the same.
                    return pong.message.map(drop).ok_or_else(|| unwell(pong.status));
                }
            }
        }
        self.begin(leg).await
    }

    async fn begin(&mut self, leg: &HttpLeg) -> Result<(), String> {
        *self = Self::New;
        if answers(&probe::discover(leg, ID).await?)? {
            *self = Self::Modern;
            return Ok(());
        }
        let version = LEGACY_VERSIONS[0];
        let client = json!({"name": "lifeboat", "version": env!("CARGO_PKG_VERSION")});
        let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": client});
        let initialize = probe::message(ID, "initialize", params, false);
        let answer = probe::post(leg, &initialize, None, version, None).await?;
        let first = answer.message.filter(|message| !message.is_error()).ok_or_else(|| unwell(answer.status))?;
        let version = first.result_text("protocolVersion").unwrap_or_else(|| version.to_owned());
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
        probe::post(leg, &initialized.into(), None, &version, answer.session.as_ref()).await?;
        *self = Self::Legacy { session: answer.session, version };
        Ok(())
    }

    async fn part(self, leg: &HttpLeg) {
        if let Self::Legacy { session: session @ Some(_), version } = self {
            let headers = probe::headers(None, &version, session.as_ref());
            drop(leg.send(Method::DELETE, headers, Bytes::new(), BRIEF).await);
        }
    }
}

/// Whether the modern question was understood; an error means that the server cannot serve at all.
fn answers(posted: &Posted) -> Result<bool, String> {
    match posted.status {
        401 | 403 | 407 => Err("it does not accept the credential it is given".to_owned()),
        300..=399 => Err("it redirects, which is not followed".to_owned()),
        500.. => Err(unwell(posted.status)),
        _ => Ok(posted.message.as_ref().is_some_and(|message| !message.is_error())),
    }
}

fn unwell(status: u16) -> String {
    format!("it answers HTTP {status} and no message")
}

/// Between four fifths and six fifths of a time, so that many proxies do not look at a server in one moment.
fn jittered(time: Duration, entropy: &SharedEntropy) -> Duration {
    let mut byte = [0];
    entropy.fill(&mut byte);
    time.mul_f64(0.8 + f64::from(byte[0]) / 255.0 * 0.4)
}
