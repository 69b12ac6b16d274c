//! Legs that follow the policy, also while a call that was permitted before is still on its way to its server.

use std::collections::HashMap;

use super::*;
use crate::base::clock::SystemClock;
use crate::crypto::random::SystemEntropy;
use crate::policy::KillOverlay;
use crate::policy::snapshot::Revision;

fn snapshot(url: Option<&str>) -> Snapshot {
    let mut desired = crate::config::Desired::default();
    if let Some(url) = url {
        let text = format!("[upstream.http]\nurl = \"{url}\"\nplain_loopback = true");
        desired.servers.insert("s".into(), toml::from_str(&text).unwrap());
    }
    Snapshot::build(Revision::default(), &desired, Vec::new(), HashMap::new()).unwrap()
}

#[tokio::test]
async fn a_call_on_its_way_does_not_bring_back_a_server_that_changed_or_went() {
    let (feed, _probes) = Feed::new(snapshot(Some("http://127.0.0.1:1/mcp")), KillOverlay::default());
    let parts = LegParts {
        data: "/nonexistent".into(),
        exe: "/nonexistent".into(),
        feed: feed.clone(),
        entropy: Arc::new(SystemEntropy),
        clock: Arc::new(SystemClock),
        recorder: Recorder::new(Arc::default(), tokio::sync::watch::channel(None).1).0,
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    };
    let upstreams = Upstreams::new(parts);
    let permitted = feed.snapshot();
    upstreams.reconcile(&permitted);
    let old = permitted.servers["s"].clone();
    assert!(matches!(upstreams.leg(&old, &permitted.settings).0, Leg::Http(_)));
    feed.publish(snapshot(Some("http://127.0.0.1:2/mcp")));
    upstreams.reconcile(&feed.snapshot());
    assert!(matches!(upstreams.leg(&old, &permitted.settings).0, Leg::Unusable(..)), "the address it was permitted for is no more");
    let new = feed.snapshot().servers["s"].clone();
    assert!(upstreams.kept(&new).is_some(), "the new leg stays");
    feed.publish(snapshot(None));
    upstreams.reconcile(&feed.snapshot());
    assert!(matches!(upstreams.leg(&new, &permitted.settings).0, Leg::Unusable(..)));
    assert!(upstreams.running.lock().unwrap().is_empty(), "and nothing of it runs");
}
