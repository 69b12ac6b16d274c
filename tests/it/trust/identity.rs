//! Who a server must be: certificates, pins, versions, waivers, client certificates.

use serde_json::{Value, json};

use super::site::{Authority, Site, mutual, tls12, tls13};
use super::{House, executed};
use crate::support::TestApp;

const STILL: &str = "[upstream]\nhealth_seconds = 0\nbreaker_failures = 0\n";

#[tokio::test]
async fn atk_p29_a_server_that_is_another_one_is_refused_and_operators_read_why() {
    let (authority, house) = (Authority::new(), House::start(STILL).await);
    let good = authority.issue("localhost");
    let site = Site::start(tls13(&good)).await;
    let trust = json!({"ca": authority.pem, "pins": [good.pin(), authority.issue("spare").pin()]});
    assert_eq!(house.add("far", &site.url(), trust).await.0, 200);
    assert_eq!(house.call("far", "echo").await.json()["result"]["content"][0]["text"], "done");

    let other = authority.issue("localhost");
    let expired = authority.issue_with("localhost", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let stranger = Authority::new().issue("localhost");
    let misnamed = authority.issue("elsewhere");
    let cases = [
        ("other key of the same CA", Some(tls13(&other)), other.pin()),
        ("expired", Some(tls13(&expired)), "expired".to_owned()),
        ("other CA", Some(tls13(&stranger)), "nobody that is trusted".to_owned()),
        ("other name", Some(tls13(&misnamed)), "another name".to_owned()),
        ("TLS 1.2 only", Some(tls12(&good)), "does not speak TLS 1.3".to_owned()),
        ("no TLS", None, "does not speak TLS".to_owned()),
    ];
    for (case, config, told) in cases {
        match config {
            Some(config) => site.restart(config),
            None => site.restart_plain(),
        }
        site.upstream.forget();
        for tool in ["echo", "write_note"] {
            let refused = house.call("far", tool).await;
            assert_eq!(
                (refused.status, refused.reason().as_str(), executed(&refused).as_str()),
                (200, "upstream.untrusted", "no"),
                "{case}"
            );
            assert_eq!(refused.json()["error"]["data"]["retry"], "ask_operator", "{case}");
        }
        assert_eq!(site.upstream.hits().len(), 0, "{case}: nothing is said to a stranger");
        let shown = house.show("far").await;
        let detail = shown["detail"].as_str().expect("text");
        assert!(shown["state"] == "down" && detail.contains(&told), "{case}: {shown}");
        let health = house.servers_told().await;
        assert!(health.contains("far is down") && health.contains(&told), "{case}: {health}");
    }
    site.restart(tls13(&good));
    assert_eq!(house.call("far", "echo").await.status, 200);
    assert_eq!((house.show("far").await["state"].clone(), house.health().await["status"].clone()), (json!("up"), json!("ok")));
    // Plain HTTP is no way round it, whatever the configuration says.
    let (status, refused) = house.add("plain", "http://198.51.100.7/mcp", json!({"plain_loopback": true})).await;
    assert_eq!(status, 400, "{refused}");
}

#[tokio::test]
async fn flt_17_a_spare_pin_takes_over_without_a_change() {
    let (authority, house) = (Authority::new(), House::start(STILL).await);
    let (now, spare) = (authority.issue("localhost"), authority.issue("localhost"));
    let site = Site::start(tls13(&now)).await;
    house.add("far", &site.url(), json!({"ca": authority.pem, "pins": [now.pin()]})).await;
    let warned = |checks: &[(String, String, String)]| checks.iter().any(|(name, state, _)| name == "pins" && state == "warn");
    assert!(warned(&house.doctor().await), "one pin is one too few");
    site.restart(tls13(&spare));
    assert_eq!(house.call("far", "echo").await.reason(), "upstream.untrusted");
    assert!(house.show("far").await["detail"].as_str().expect("text").contains(&spare.pin()), "the pin to add is told");

    let (old, both) = (now.pin(), format!("{}\", \"{}", now.pin(), spare.pin()));
    house.edit("far", |text| text.replace(&old, &both)).await;
    assert_eq!(house.call("far", "echo").await.reason(), "");
    assert!(!warned(&house.doctor().await));
    site.restart(tls13(&now));
    assert_eq!(house.call("far", "write_note").await.reason(), "", "the old key still counts");
}

#[tokio::test]
async fn atk_p29_tls_1_2_is_borne_with_until_its_waiver_ends() {
    let (authority, house) = (Authority::new(), House::start(STILL).await);
    let identity = authority.issue("localhost");
    let site = Site::start(tls12(&identity)).await;
    let (status, refused) = house.add("old", &site.url(), json!({"ca": authority.pem})).await;
    assert!(status == 503 && refused.to_string().contains("does not speak TLS 1.3"), "{status} {refused}");
    for (until, reason, told) in
        [("2999-12-31", "", "tls12_reason"), ("2020-01-01", "box", "a day to come"), ("soon", "box", "must be a day")]
    {
        let (status, refused) =
            house.add("old", &site.url(), json!({"ca": authority.pem, "tls12_until": until, "tls12_reason": reason})).await;
        assert!(status == 400 && refused.to_string().contains(told), "{until}: {status} {refused}");
    }
    let waiver = json!({"ca": authority.pem, "pins": [identity.pin()], "tls12_until": "2999-12-31", "tls12_reason": "until the box is gone"});
    assert_eq!(house.add("old", &site.url(), waiver).await.0, 200);
    assert_eq!(house.call("old", "echo").await.reason(), "");
    let shown = house.show("old").await;
    assert_eq!(shown["tls12"], json!({"until": "2999-12-31", "reason": "until the box is gone", "ended": false}));
    assert!(
        house
            .doctor()
            .await
            .iter()
            .any(|(name, state, detail)| name == "tls 1.2" && state == "warn" && detail.contains("2999-12-31"))
    );

    // A waiver frees from the version, not from the pin.
    site.restart(tls12(&authority.issue("localhost")));
    assert_eq!(house.call("old", "echo").await.reason(), "upstream.untrusted");
    site.restart(tls12(&identity));
    house.edit("old", |text| text.replace("2999-12-31", "2020-01-01")).await;
    let refused = house.call("old", "echo").await;
    assert_eq!((refused.reason().as_str(), executed(&refused).as_str()), ("upstream.untrusted", "no"));
    let shown = house.show("old").await;
    assert!(shown["tls12"]["ended"] == true && shown["detail"].as_str().expect("text").contains("waiver"), "{shown}");
    assert!(house.doctor().await.iter().any(|(name, state, _)| name == "tls 1.2" && state == "fail"));
    site.restart(tls13(&identity));
    assert_eq!(house.call("old", "echo").await.reason(), "", "with TLS 1.3 it needs none");
}

#[tokio::test]
async fn mutual_tls_shows_the_certificate_that_only_this_host_keeps() {
    let (authority, clients, house) = (Authority::new(), Authority::new(), House::start(STILL).await);
    let site = Site::start(mutual(&authority.issue("localhost"), &clients)).await;
    let (status, refused) = house.add("inner", &site.url(), json!({"ca": authority.pem})).await;
    assert!(status == 503 && refused.to_string().contains("client certificate"), "{status} {refused}");
    let ours = clients.issue("lifeboat");
    let (status, refused) = house.add("inner", &site.url(), json!({"ca": authority.pem, "client": "no certificate"})).await;
    assert!(status == 400 && refused.to_string().contains("client"), "{status} {refused}");
    let (status, added) = house.add("inner", &site.url(), json!({"ca": authority.pem, "client": ours.pem()})).await;
    assert_eq!(status, 200, "{added}");
    assert_eq!(house.call("inner", "echo").await.reason(), "");
    assert!(house.show("inner").await["client_certificate_until"].is_string());
    nothing_leaks(&house.app, &ours.pem());

    // Somebody else's certificate is refused by the server, and the call is not said to have run.
    let foreign = Authority::new().issue("lifeboat");
    house.app.api("POST", "/api/v1/servers/inner/secrets", json!({"client": foreign.pem()})).await;
    let refused = house.call("inner", "write_note").await;
    assert_ne!(refused.reason(), "");
    assert!(house.show("inner").await["state"] == "down");
    house.app.api("POST", "/api/v1/servers/inner/secrets", json!({"client": ""})).await;
    let refused = house.call("inner", "echo").await;
    assert_eq!((refused.reason().as_str(), executed(&refused).as_str()), ("upstream.unavailable", "no"));
    let shown = house.show("inner").await;
    assert!(shown["missing"].as_str().expect("text").contains("a client certificate is due"), "{shown}");
    assert!(house.servers_told().await.contains("a client certificate is due and this host keeps none"));
    house.app.api("POST", "/api/v1/servers/inner/secrets", json!({"client": ours.pem()})).await;
    assert_eq!(house.call("inner", "echo").await.reason(), "", "given again, it works again");
}

/// The secret is nowhere below the data directory in the clear: not in git, not in the database, not in the ledger.
fn nothing_leaks(app: &TestApp, pem: &str) {
    let line = pem.lines().skip_while(|line| !line.contains("PRIVATE KEY")).nth(1).expect("the key");
    let mut folders = vec![app.data.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                assert!(!bytes.windows(line.len()).any(|part| part == line.as_bytes()), "{}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn a_header_that_is_due_and_not_kept_makes_the_server_unusable() {
    let (authority, house) = (Authority::new(), House::start(STILL).await);
    let site = Site::start(tls13(&authority.issue("localhost"))).await;
    let (status, added) = house.add("far", &site.url(), json!({"ca": authority.pem, "headers": "X-Token: one\n"})).await;
    assert_eq!(status, 200, "{added}");
    house.call("far", "echo").await;
    let token = |site: &Site| site.upstream.hits().last().expect("a hit").headers["x-token"].clone();
    assert_eq!(token(&site), "one");
    house.app.api("POST", "/api/v1/servers/far/secrets", json!({"headers": "X-Token: two\n"})).await;
    house.call("far", "echo").await;
    assert_eq!(token(&site), "two");
    house.app.api("POST", "/api/v1/servers/far/secrets", json!({"headers": ""})).await;
    site.upstream.forget();
    assert_eq!(house.call("far", "echo").await.reason(), "upstream.unavailable");
    assert_eq!(site.upstream.hits().len(), 0);
    assert!(house.show("far").await["missing"].as_str().expect("text").ends_with("x-token"));
    let events: Vec<Value> = house.actions("server.secrets").await;
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| !event.to_string().contains("two")), "names only");
}

#[tokio::test]
async fn atk_p28_redirects_lead_nowhere() {
    let house = House::start(STILL).await;
    let trap = crate::support::upstream::Upstream::start().await;
    let (status, _) = house.add("bent", &house.app.upstream.url(), json!({})).await;
    assert_eq!(status, 200);
    let places = [
        trap.url(),
        "http://127.0.0.1:1/".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "https://elsewhere.example/".to_owned(),
    ];
    for code in [301, 302, 303, 307, 308] {
        for place in &places {
            let place = place.clone();
            house.app.upstream.script(move |hit| {
                (hit.rpc() == "tools/call").then(|| {
                    let mut answer = crate::support::upstream::status(http::StatusCode::from_u16(code).expect("a status"));
                    answer.headers_mut().insert("location", place.parse().expect("a value"));
                    answer
                })
            });
            house.app.upstream.forget();
            let reply = house.call("bent", "write_note").await;
            assert_eq!(
                (reply.status, reply.reason().as_str(), executed(&reply).as_str()),
                (200, "upstream.outcome_unknown", "unknown")
            );
            assert!(reply.header("location").is_none());
            assert_eq!((house.app.upstream.hits().len(), trap.hits().len()), (1, 0), "{code}");
            let event = house.app.last_call().await;
            assert_eq!((event["reason"].as_str(), event["status"].as_str()), (Some("upstream.outcome_unknown"), Some("unknown")));
        }
    }
    assert!(house.servers_told().await.contains("it redirects, which is not followed"));
}
