//! A stdio server with a child for each session: the child knows its client, may ask it, and is gone with its session.

use std::path::Path;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use lifeboat::policy::Mode;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::rig::{Rig, bearer, modern, piece};

const SERVER: &str = include_str!("own_child.py");

struct House {
    rig: Rig,
    folder: TempDir,
}

impl House {
    /// `more` are lines of `[upstream.stdio]`.
    async fn open(more: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("made");
        if nix::unistd::geteuid().is_root() {
            // The account of a server must reach its vault.
            for path in [folder.path(), data.as_path()] {
                std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o711)).expect("opened");
            }
        }
        let command = json!(["python3", "-c", SERVER, mark(folder.path())]);
        let rig = Rig::stdio(&format!("[upstream.stdio]\ncommand = {command}\ninstances = \"per-session\"\n{more}"), &data).await;
        let house = Self { rig, folder };
        house.children(1, "the shared child is up").await;
        house
    }

    /// Begins a session; the refusal, where there is none.
    async fn begin(&self, kid: &str) -> Result<String, Value> {
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}, "roots": {}},
            "clientInfo": {"name": "t", "version": "1"}});
        let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let answer = self.rig.send(self.rig.post_as(kid, &message)).await;
        match answer.headers.get("mcp-session-id") {
            Some(id) => {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(text.contains(r#""instructions":"x 1.50""#) && text.contains(r#""id":0"#), "{text}");
                Ok(id.to_str().expect("text").to_owned())
            }
            None => Err(answer.reason()),
        }
    }

    async fn say(&self, session: &str, kid: &str, message: Value) -> (u16, Value) {
        let answer = self.rig.send(self.rig.post_in(session, kid, &message)).await;
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    async fn call(&self, session: &str, kid: &str, tool: &str) -> (u16, Value) {
        self.say(
            session,
            kid,
            json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "look", "arguments": {"do": tool}}}),
        )
        .await
    }

    /// Waits until there are so many children, none of them dead and not taken.
    async fn children(&self, due: usize, what: &str) {
        let began = Instant::now();
        loop {
            let count = count(&mark(self.folder.path()));
            if count == due && zombies() == 0 {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{what}: {count} children and not {due}, {} dead", zombies());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn mark(folder: &Path) -> String {
    format!("mark-{}", folder.file_name().expect("a name").to_string_lossy())
}

/// The server's own processes, by the mark on their command line; the trampoline above them is another program.
fn count(mark: &str) -> usize {
    let of = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).ok();
    let ours = |line: &Vec<u8>| {
        let mut words = line.split(|byte| *byte == 0);
        words.next().is_some_and(|word| word.ends_with(b"python3")) && words.any(|word| word == mark.as_bytes())
    };
    std::fs::read_dir("/proc").expect("proc").flatten().filter_map(of).filter(ours).count()
}

/// Children of this process that have ended and that nobody has taken.
fn zombies() -> usize {
    let own = std::process::id().to_string();
    let is_dead = |entry: &std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let mut rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
        rest.next() == Some("Z") && rest.next() == Some(own.as_str())
    };
    std::fs::read_dir("/proc").expect("proc").flatten().filter(is_dead).count()
}

#[tokio::test]
async fn each_session_has_its_own_child_which_knows_its_client_and_may_ask_it() {
    let house = House::open("").await;
    let (one, two) = (house.begin("abcdefgh").await.expect("a session"), house.begin("otherkey").await.expect("a session"));
    house.children(3, "one child a session").await;
    let (first, second) = (house.call(&one, "abcdefgh", "who").await.1, house.call(&two, "otherkey", "who").await.1);
    assert_eq!(first["result"]["capabilities"], json!({"elicitation": {}, "roots": {}}), "{first}");
    assert_ne!(first["result"]["self"], second["result"]["self"]);
    assert_eq!(house.call(&one, "abcdefgh", "who").await.1, first);
    let ask = json!({"jsonrpc": "2.0", "id": "c", "method": "tools/call",
        "params": {"name": "look", "arguments": {"do": "ask"}, "_meta": {"progressToken": "t"}}});
    let began = Instant::now();
    let mut body = house.rig.client.request(house.rig.post_in(&one, "abcdefgh", &ask)).await.expect("a head").into_body();
    let mut seen = String::new();
    while !seen.contains("elicitation/create") {
        seen.push_str(&piece(&mut body).await);
    }
    assert!(seen.contains(r#""progressToken":"t""#) && seen.contains("notifications/message"), "{seen}");
    let answer = json!({"jsonrpc": "2.0", "id": "q", "result": {"action": "accept", "content": {"n": 42}}});
    assert_eq!(house.say(&two, "otherkey", answer.clone()).await.0, 400, "another session was not asked");
    assert_eq!(house.say(&one, "abcdefgh", answer.clone()).await.0, 202);
    assert_eq!(house.say(&one, "abcdefgh", answer).await.0, 400, "once");
    let rest = String::from_utf8_lossy(&body.collect().await.expect("a body").to_bytes()).into_owned();
    assert!(rest.contains(r#""id":"c""#) && rest.contains(r#""n":42"#), "{rest}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_a_child_says_without_a_call_comes_on_its_clients_own_stream() {
    let house = House::open("").await;
    let session = house.begin("abcdefgh").await.expect("a session");
    assert_eq!(house.say(&session, "abcdefgh", json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await.0, 202);
    // The child asks at once; its client opens its stream a little later.
    let own = house.rig.listen(&session, "abcdefgh", None).await;
    assert_eq!(own.status(), 200);
    let mut body = own.into_body();
    let seen = piece(&mut body).await;
    assert!(seen.contains("roots/list") && seen.contains(r#""id":"r""#), "{seen}");
    let answer = json!({"jsonrpc": "2.0", "id": "r", "result": {"roots": [{"uri": "file:///a"}]}});
    assert_eq!(house.say(&session, "abcdefgh", answer).await.0, 202);
    let seen = piece(&mut body).await;
    assert!(seen.contains("notifications/message") && seen.contains("file:///a"), "{seen}");
}

#[tokio::test]
async fn no_child_outlives_its_session() {
    let house = House::open("max_instances = 2").await;
    let first = house.begin("abcdefgh").await.expect("a session");
    house.children(2, "a first session").await;
    let bearer = bearer("abcdefgh");
    let end = house.rig.request("DELETE", "/mcp/s", &[("authorization", &bearer), ("mcp-session-id", &first)], "");
    assert_eq!(house.rig.send(end).await.status, 200);
    house.children(1, "DELETE ends the child").await;
    assert_eq!(house.call(&first, "abcdefgh", "who").await.0, 404);
    let second = house.begin("abcdefgh").await.expect("a session");
    let third = house.begin("abcdefgh").await.expect("a session");
    let fourth = house.begin("otherkey").await.expect("the cap makes room");
    house.children(3, "never more than the cap").await;
    assert_eq!(house.call(&second, "abcdefgh", "who").await.0, 404, "the one used longest ago made room");
    let mut streams = Vec::new();
    for (session, kid) in [(&third, "abcdefgh"), (&fourth, "otherkey")] {
        streams.push(house.rig.listen(session, kid, None).await);
    }
    assert_eq!(house.begin("abcdefgh").await, Err(json!("upstream.unavailable")), "nobody at work is ended for another");
    let House { rig, folder } = house;
    rig.stop().await;
    assert_eq!(count(&mark(folder.path())), 0, "stopping leaves nothing");
    let began = Instant::now();
    // Other tests of this process have children of their own, which are dead for a moment.
    while zombies() > 0 {
        assert!(began.elapsed() < Duration::from_secs(30), "stopping leaves nothing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_child_ends_when_its_client_is_idle_and_not_while_it_listens() {
    let house = House::open("idle_seconds = 3").await;
    let session = house.begin("abcdefgh").await.expect("a session");
    let stream = house.rig.listen(&session, "abcdefgh", None).await;
    assert_eq!(stream.status(), 200);
    tokio::time::sleep(Duration::from_secs(5)).await;
    house.children(2, "whoever listens is not idle").await;
    drop(stream);
    house.children(1, "idle ones end").await;
    assert_eq!(house.call(&session, "abcdefgh", "who").await.0, 404);
}

#[tokio::test]
async fn atk_p25_listening_keeps_nobody_else_out() {
    let house = House::open("max_instances = 3").await;
    let (mut sessions, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let session = house.begin("abcdefgh").await.expect("a session");
        streams.push(house.rig.listen(&session, "abcdefgh", None).await);
        sessions.push(session);
    }
    assert_eq!(house.begin("abcdefgh").await, Err(json!("upstream.unavailable")), "its own are at work");
    let other = house.begin("otherkey").await.expect("who holds less finds room");
    assert_eq!(house.call(&other, "otherkey", "who").await.0, 200);
    house.children(4, "never more than the cap").await;
    let mut gone = 0;
    for session in &sessions {
        gone += usize::from(house.call(session, "abcdefgh", "who").await.0 == 404);
    }
    assert_eq!(gone, 1, "one that was only listened to made room");
}

#[tokio::test]
async fn pit_4_a_child_that_dies_ends_its_session_and_no_other() {
    let house = House::open("").await;
    let (one, two) = (house.begin("abcdefgh").await.expect("a session"), house.begin("abcdefgh").await.expect("a session"));
    let (status, died) = house.call(&one, "abcdefgh", "die").await;
    assert_eq!((status, died["error"]["data"]["executed"].as_str()), (200, Some("unknown")), "{died}");
    house.children(2, "it is not started again").await;
    assert_eq!(house.call(&one, "abcdefgh", "who").await.0, 404, "never an empty success");
    assert_eq!(house.call(&two, "abcdefgh", "who").await.0, 200);
    assert!(house.begin("abcdefgh").await.is_ok());
}

#[tokio::test]
async fn pit_27_a_kill_takes_a_child_that_does_not_obey_and_its_session_with_it() {
    let house = House::open("").await;
    let (one, two) = (house.begin("abcdefgh").await.expect("a session"), house.begin("otherkey").await.expect("a session"));
    house.children(3, "two sessions").await;
    let hang = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": {"name": "look", "arguments": {"do": "hang"}, "_meta": {"progressToken": "t"}}});
    let mut body = house.rig.client.request(house.rig.post_in(&one, "abcdefgh", &hang)).await.expect("a head").into_body();
    // The child has read the call: one that was not written yet would cost it nothing.
    assert!(piece(&mut body).await.contains("notifications/progress"));
    house.rig.engage(Mode::Full);
    let cut = String::from_utf8_lossy(&body.collect().await.expect("cut").to_bytes()).into_owned();
    assert!(cut.contains("kill.engaged"), "{cut}");
    house.children(2, "the child that did not obey is gone").await;
    house.rig.feed.set_kill(house.rig.feed.kill().release(&lifeboat::policy::Scope::Everything, None));
    let mut asked = house.call(&one, "abcdefgh", "who").await;
    for _ in 0..100 {
        if asked.0 == 404 {
            break;
        }
        // Its process is gone, which the proxy is about to notice.
        assert!(asked.1["error"].is_object(), "never an empty success: {}", asked.1);
        tokio::time::sleep(Duration::from_millis(50)).await;
        asked = house.call(&one, "abcdefgh", "who").await;
    }
    assert_eq!(asked.0, 404, "{}", asked.1);
    assert_eq!(house.call(&two, "otherkey", "who").await.0, 200);
}

#[tokio::test]
async fn modern_calls_share_the_one_child_without_session() {
    let house = House::open("").await;
    for kid in ["abcdefgh", "otherkey"] {
        let (body, headers) = modern("tools/call", Some("look"), 7, json!({"name": "look", "arguments": {"do": "who"}}));
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut request = house.rig.post(&body, &headers);
        request.headers_mut().insert("authorization", bearer(kid).parse().expect("a header"));
        let answer = house.rig.send(request).await;
        assert_eq!((answer.status, answer.json()["result"]["capabilities"].clone()), (200, json!({})), "{}", answer.json());
    }
    house.children(1, "no child more").await;
}
