//! Activity in the dashboard: the page, the export, and the one live stream of every page (kill, heartbeat, calls).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::RawQuery;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event as Sse, Sse as Stream};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::pages::{self, Found};
use super::rows::{RowView, RowsPart};
use crate::admin::Admin;
use crate::admin::actor::Right;
use crate::admin::operators::{self, Touch};
use crate::admin::routes::{Access, Entry, Visit};
use crate::admin::shell::{Here, stopped_now};
use crate::audit::{Event, Filter, Tail, Tailed};
use crate::base::secret::Secret;
use crate::web::{Fields, html_with, page};

/// Who may use what.
pub const ROUTES: [Entry; 3] = [
    ("GET", "/activity", Access::Signed(Right::Read)),
    ("GET", "/activity/export", Access::Signed(Right::Export)),
    ("GET", "/live", Access::Stream(Right::Read)),
];

// A look at memory this often finds a proof that ended without a new epoch; calls are sent in such portions too.
const LOOK: Duration = Duration::from_millis(250);
// Looks between two heartbeats: the page calls the link lost after 10 s.
const BEAT: u32 = 12;
const PORTION: usize = 40;

/// The routes.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new().route("/activity", get(show)).route("/activity/export", get(export)).route("/live", get(live))
}

async fn show(visit: Visit, RawQuery(query): RawQuery) -> Response {
    let fields = Fields::parse(query.as_deref().unwrap_or_default());
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    let read = async || super::query(admin, actor, &pages::filter(&fields, admin.clock.now())?).await;
    let (found, status) = match read().await {
        Ok(page) => (Found { page, open: opened(&visit, fields.get("call")).await, fault: None }, StatusCode::OK),
        Err(fault) => {
            let status = page::status_of(fault.kind);
            (Found { page: Default::default(), open: None, fault: Some(fault.to_string()) }, status)
        }
    };
    let (command, call) = pages::same(&fields);
    let shell = visit.shell(Here::Activity, "Activity").same(command, call);
    html_with(status, &pages::page(shell, &fields, found, actor.role.has(Right::Export)))
}

async fn opened(visit: &Visit, call: &str) -> Option<Event> {
    super::event(&visit.admin, &visit.signed.actor, call.parse().ok()?).await.ok()
}

async fn export(visit: Visit, RawQuery(query): RawQuery) -> Response {
    let fields = Fields::parse(query.as_deref().unwrap_or_default());
    let begin = async || {
        let filter = Filter { limit: None, after: None, ..pages::filter(&fields, visit.admin.clock.now())? };
        super::export(&visit.admin, &visit.signed.actor, filter).await
    };
    match begin().await {
        Err(fault) => visit.fail(&fault),
        Ok(chunks) => {
            let body =
                Body::from_stream(stream::unfold(chunks, |mut chunks| async move { chunks.recv().await.map(|c| (c, chunks)) }));
            let headers = [
                (header::CONTENT_TYPE, "application/x-ndjson"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"lifeboat-audit.jsonl\""),
            ];
            (headers, body).into_response()
        }
    }
}

struct Live {
    admin: Arc<Admin>,
    token: Secret<String>,
    filter: Filter,
    query: String,
    tail: Option<Tail>,
    kill: watch::Receiver<u64>,
    told: String,
    rows: Vec<RowView>,
    looks: u32,
    due: Instant,
}

async fn live(visit: Visit, RawQuery(query): RawQuery) -> Response {
    let fields = Fields::parse(query.as_deref().unwrap_or_default());
    let filter = match pages::filter(&fields, visit.admin.clock.now()) {
        // The moment a page was opened is not the moment its rows begin.
        Ok(filter) => Filter { since: None, after: None, limit: None, ..filter },
        Err(fault) => return visit.fail(&fault),
    };
    let tail = fields.has("calls").then(|| super::tail(&visit.admin, &visit.signed.actor, None).ok()).flatten();
    let state = Live {
        kill: visit.admin.feed.watch_kill(),
        told: standing(&visit.admin),
        query: pages::query(&fields),
        token: visit.signed.token,
        admin: visit.admin,
        filter,
        tail,
        rows: Vec::new(),
        looks: 0,
        due: Instant::now() + LOOK,
    };
    Stream::new(stream::unfold(state, next)).into_response()
}

// What a banner depends on, in one line: a new one means that pages must look again.
fn standing(admin: &Admin) -> String {
    let status = stopped_now(admin);
    let proof = status.last_proof.map(|proof| (proof.decision_id, proof.effective));
    format!("{} {proof:?}", admin.feed.kill().epoch)
}

async fn next(mut live: Live) -> Option<(Result<Sse, Infallible>, Live)> {
    loop {
        let look = tokio::select! {
            changed = live.kill.changed() => changed.is_ok(),
            tailed = follow(&mut live.tail) => { take(&mut live, tailed); Instant::now() >= live.due }
            () = sleep_until(live.due) => true,
        };
        let full = live.rows.len() >= PORTION;
        if !look && !full {
            continue;
        }
        live.due = Instant::now() + LOOK;
        live.looks += 1;
        let standing = standing(&live.admin);
        if standing != live.told {
            live.told = standing;
            return Some((Ok(Sse::default().event("kill").data("changed")), live));
        }
        // Before the rows: where calls never cease, a session that is over would go on for ever.
        if live.looks >= BEAT {
            live.looks = 0;
            // A session that is over ends its stream; the page then asks to sign in.
            operators::who(&live.admin, live.token.reveal(), Touch::No)?;
            return Some((Ok(Sse::default().event("beat").data("ok")), live));
        }
        if !live.rows.is_empty() {
            let rows: Vec<RowView> = std::mem::take(&mut live.rows).into_iter().rev().collect();
            let text = RowsPart { rows }.render().unwrap_or_default();
            return Some((Ok(Sse::default().data(text)), live));
        }
    }
}

async fn follow(tail: &mut Option<Tail>) -> Option<Tailed> {
    match tail {
        Some(tail) => match tail.next().await {
            Ok(tailed) => tailed,
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

fn take(live: &mut Live, tailed: Option<Tailed>) {
    let Some(Tailed::Event(event)) = tailed else {
        if tailed.is_none() {
            live.tail = None;
        }
        return;
    };
    let line = serde_json::to_vec(&*event).unwrap_or_default();
    if live.filter.fits(&event, &line) && live.rows.len() < PORTION {
        let row = RowView { class: "new", ..RowView::of(&event, &live.query) };
        live.rows.push(row);
    }
}
