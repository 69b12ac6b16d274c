//! Cases of the guard: which URLs are refused at reading, which at connecting, and that what was checked is what is dialled.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::super::tests_receiver::Receiver;
use super::*;
use crate::config::Desired;
use crate::config::alerts::ReceiverConfig;

fn config(url: &str) -> ReceiverConfig {
    ReceiverConfig {
        name: "a".into(),
        url: url.into(),
        rules: vec!["*".into()],
        plain_loopback: false,
        allow_addresses: Vec::new(),
        ca: None,
    }
}

/// Answers one list after the other, then the last one for ever.
fn scripted(answers: &[&[&str]]) -> (Lookup, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let answers: Vec<Vec<IpAddr>> =
        answers.iter().map(|list| list.iter().map(|ip| ip.parse().expect("an address")).collect()).collect();
    let counted = asked.clone();
    let lookup: Lookup = Arc::new(move |_| {
        let at = counted.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        let answer = answers[at].clone();
        Box::pin(async move { Ok(answer) })
    });
    (lookup, asked)
}

/// URLs that are never a receiver's, whatever stands behind them.
fn refused_at_reading(port: u16) -> Vec<String> {
    let own = |text: &str| text.to_owned();
    vec![
        format!("http://hooks.example.com:{port}/"),
        format!("http://127.0.0.1:{port}/"),
        format!("https://127.0.0.1:{port}/hook"),
        format!("https://127.1:{port}/"),
        format!("https://0x7f.1:{port}/"),
        format!("https://2130706433:{port}/"),
        format!("https://0177.0.0.1:{port}/"),
        format!("https://127.0.0.1.:{port}/"),
        format!("https://[::1]:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        format!("https://[::ffff:7f00:1]:{port}/"),
        format!("https://[2002:7f00::]:{port}/"),
        format!("https://[64:ff9b::7f00:1]:{port}/"),
        format!("https://[fec0::1]:{port}/"),
        own("https://[fe80::1]/"),
        own("https://10.0.0.1/"),
        own("https://169.254.169.254/latest/meta-data"),
        own("https://0.0.0.0/"),
        format!("https://localhost.:{port}/"),
        format!("https://hooks.example.com@127.0.0.1:{port}/"),
        own("https://user:secret@hooks.example.com/"),
        own("https://@hooks.example.com/"),
        own("https://hooks.example.com/#x"),
        own("https://hooks.example.com:22/"),
        own("https://hooks.example.com:25/"),
        own("https://hooks.example.com:0/"),
        own("https://hooks.example.com:99999/"),
        own("https://hooks.example.com\\@127.0.0.1/"),
        own("https://hooks.example.com /"),
        own("https:hooks.example.com"),
        own("https:///hooks.example.com"),
        own("https://\u{ff11}27.0.0.1/"),
        own("https://%31%32%37.0.0.1/"),
        own("ftp://hooks.example.com/"),
        own("file:///etc/passwd"),
        own("//hooks.example.com/"),
        String::new(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_w01_no_spelling_of_a_url_leads_inside() {
    let inside = Receiver::start().await;
    let port = inside.address.port();
    for url in &refused_at_reading(port) {
        let wrong = config(url).target().expect_err(url);
        assert_eq!(wrong.key, "url", "{url}");
        assert!(!wrong.message.contains("secret@"), "{}", wrong.message);
        let text = format!("[[receiver]]\nname = \"a\"\nurl = {url:?}\n");
        let Err(faults) = Desired::read(&BTreeMap::from([("alerts.toml".to_owned(), text.into_bytes())])) else {
            panic!("{url} is taken");
        };
        assert_eq!((faults[0].file.as_str(), faults[0].line), ("alerts.toml", 3), "{url}");
    }
    // A name is no address: what it resolves to decides, when it is connected to.
    let named = config(&format!("https://hooks.example.com:{port}/")).target().expect("a name");
    for ip in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "fec0::1", "10.0.0.1", "169.254.169.254"]
    {
        let (lookup, asked) = scripted(&[&[ip]]);
        let answered = knock(&named, &lookup).await;
        assert!(!answered.is_ok() && answered.why.contains("is not allowed"), "{ip}: {answered:?}");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{ip}");
    }
    // By the system's own resolver, which also knows odd numbers.
    let localhost = config(&format!("https://localhost:{port}/")).target().expect("a name");
    let answered = knock(&localhost, &system_lookup()).await;
    assert!(answered.why.contains("is not allowed"), "{answered:?}");
    assert_eq!(inside.connections.load(Ordering::SeqCst), 0, "nobody came in");
    // The guard is what keeps them out: with leave the same address is reached.
    let with_leave = ReceiverConfig { plain_loopback: true, ca: Some(inside.ca()), ..config(&inside.url()) };
    assert!(knock(&with_leave.target().expect("leave"), &system_lookup()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_w02_only_the_address_that_was_checked_is_dialled() {
    let (good, bad) = (Receiver::start().await, Receiver::start_at("127.0.0.2").await);
    let port = good.address.port();
    // The range stands in for the public internet; 127.0.0.2 for what is inside.
    let open = ReceiverConfig {
        allow_addresses: vec!["127.0.0.1/32".into()],
        ca: Some(good.ca()),
        ..config(&format!("https://hook.example:{port}/hook"))
    };
    let target = open.target().expect("a target");
    let (lookup, asked) = scripted(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let answered = knock(&target, &lookup).await;
    assert!(answered.is_ok(), "{answered:?}");
    assert_eq!((asked.load(Ordering::SeqCst), good.hits().len()), (1, 1), "one look for one request");
    let answered = knock(&target, &lookup).await;
    assert!(answered.why.contains("127.0.0.2, which is not allowed"), "{answered:?}");
    // Of a list only what is allowed is dialled, also when that does not answer.
    let away = ReceiverConfig { url: format!("https://hook.example:{}/hook", bad.address.port()), ..open };
    let (both, _) = scripted(&[&["127.0.0.2", "127.0.0.1"]]);
    let answered = knock(&away.target().expect("a target"), &both).await;
    assert!(answered.status.is_none() && !answered.why.is_empty(), "{answered:?}");
    assert_eq!(bad.connections.load(Ordering::SeqCst), 0, "the private one was never dialled");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_ca_old_tls_and_odd_files_are_refused() {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let of = |ca: Option<String>| ReceiverConfig { plain_loopback: true, ca, ..config(&receiver.url()) };
    for ca in [Some(other.ca()), None] {
        let answered = knock(&of(ca).target().expect("a target"), &system_lookup()).await;
        assert!(answered.why.contains("certificate"), "{answered:?}");
    }
    let folder = tempfile::TempDir::new().expect("a folder");
    for odd in ["/nonexistent/ca.pem".to_owned(), folder.path().display().to_string(), "/dev/zero".to_owned()] {
        let answered = knock(&of(Some(odd)).target().expect("a target"), &system_lookup()).await;
        assert!(answered.why.starts_with("ca: "), "{answered:?}");
    }
    assert_eq!(receiver.hits().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_that_hangs_holds_nobody_for_longer_than_five_seconds() {
    let lookup: Lookup = Arc::new(|_| Box::pin(std::future::pending()));
    let began = Instant::now();
    let answered = knock(&config("https://hooks.example.com/").target().expect("a name"), &lookup).await;
    assert_eq!(answered.why, "no answer in 5 s");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = told.clone();
    let failing: Lookup = Arc::new(move |name| {
        kept.lock().expect("not poisoned").push(name);
        Box::pin(async { Err(io::Error::other("no such name")) })
    });
    let answered = knock(&config("https://hooks.example.com/secret-path").target().expect("a name"), &failing).await;
    assert_eq!(*told.lock().expect("not poisoned"), ["hooks.example.com"]);
    assert!(answered.why.contains("no such name") && !answered.why.contains("secret-path"), "{answered:?}");
}
