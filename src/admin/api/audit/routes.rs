//! `/api/v1/audit…`: pages, checks, and the two streams of JSON lines.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::openapi::routes::Api;
use super::super::openapi::{changes, reads};
use super::super::routes::{Caller, query, refuse, reply};
use crate::admin::activity::{Checked, Signed};
use crate::admin::actor::Right;
use crate::admin::operators::ShownKey;
use crate::admin::{Admin, activity};
use crate::audit::{Event, Filter, Page, Tail, Tailed};
use crate::base::fault::Verb;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Since {
    /// Position of the last event that is known already; absent means from now on.
    since: Option<u64>,
}

pub(in crate::admin::api) fn routes() -> Api {
    Api::default()
        .serve(reads::<Page>("/audit", "Events, newest first").query::<Filter>(), page)
        .serve(reads::<Checked>("/audit/verify", "Checks the chain, the segments and the checkpoints"), verify)
        .serve(
            reads::<Event>("/audit/tail", "Events as they come, one a line, until the reader goes").query::<Since>().lines(),
            tail,
        )
        .serve(
            reads::<Event>("/audit/export", "Every event that fits, one a line, newest first")
                .query::<Filter>()
                .needs(Right::Export)
                .lines(),
            export,
        )
        .serve(changes::<Signed>("/audit/checkpoint", "Signs the ledger's head now", Right::Operate), checkpoint)
}

async fn page(State(admin): State<Arc<Admin>>, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let read = async || activity::query(&admin, &actor, &query::<Filter>(text)?).await;
    reply(read().await)
}

async fn verify(State(admin): State<Arc<Admin>>, Caller(actor): Caller) -> Response {
    reply(activity::verify(&admin, &actor).await)
}

async fn checkpoint(State(admin): State<Arc<Admin>>, Caller(actor): Caller) -> Response {
    reply(activity::checkpoint(&admin, &actor).await)
}

async fn tail(
    State(admin): State<Arc<Admin>>,
    Caller(actor): Caller,
    shown: Option<Extension<ShownKey>>,
    RawQuery(text): RawQuery,
) -> Response {
    let begun: Verb<Tail> = query::<Since>(text).and_then(|from| activity::tail(&admin, &actor, from.since));
    match begun {
        Ok(tail) => lines(Body::from_stream(follow(tail, admin, shown.map(|Extension(key)| key)))),
        Err(fault) => refuse(&fault),
    }
}

async fn export(State(admin): State<Arc<Admin>>, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let begin = async || activity::export(&admin, &actor, query::<Filter>(text)?).await;
    match begin().await {
        Ok(chunks) => {
            let stream = stream::unfold(chunks, |mut chunks| async { chunks.recv().await.map(|chunk| (chunk, chunks)) });
            lines(Body::from_stream(stream))
        }
        Err(fault) => refuse(&fault),
    }
}

fn lines(body: Body) -> Response {
    ([(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")], body).into_response()
}

/// Events as lines, until the reader goes or the ledger ends.
/// Follows for as long as the key counts that was shown; the control socket shows none.
fn follow(tail: Tail, admin: Arc<Admin>, shown: Option<ShownKey>) -> impl Stream<Item = Result<Bytes, io::Error>> + Send {
    stream::unfold(Some((tail, admin, shown)), |following| async {
        let (mut tail, admin, shown) = following?;
        let next = tail.next().await;
        if shown.as_ref().is_some_and(|key| !key.counts(&admin)) {
            return None;
        }
        match next {
            Ok(Some(next)) => Some((Ok(line(&next)), Some((tail, admin, shown)))),
            Ok(None) => None,
            Err(fault) => Some((Err(io::Error::other(fault)), None)),
        }
    })
}

fn line(next: &Tailed) -> Bytes {
    let mut text = match next {
        Tailed::Event(event) => serde_json::to_vec(event).unwrap_or_default(),
        Tailed::Skipped(count) => format!("{{\"skipped\":{count}}}").into_bytes(),
    };
    text.push(b'\n');
    Bytes::from(text)
}
