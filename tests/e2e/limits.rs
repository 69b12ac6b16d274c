//! Out of descriptors, out of memory, thousands of idle connections, nobody who reads the log: calls go on, the dashboard answers, the kill
//! switch works, and all of it is given back afterwards.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lifeboat_peers::tls::Dialer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream as AsyncTcp;
use tokio_rustls::client::TlsStream;

use crate::harness::{Lifeboat, binary, sized, wait};
use crate::raw::{Raw, message};
use crate::rig::{Load, Scripted, slowest_of_a_usual_second_ms};

type Connection = TlsStream<AsyncTcp>;

/// `up --demo`, started by `around` (its last words are the program and its arguments).
fn started(around: &[&str], log: Option<&str>, stdio: impl Fn(PathBuf) -> (Stdio, Stdio)) -> Lifeboat {
    let home = tempfile::Builder::new().prefix("lifeboat-e2e-").tempdir().unwrap();
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let mut words: Vec<String> = around.iter().map(|word| (*word).to_owned()).collect();
    words.push(binary().to_string_lossy().into_owned());
    let mut command = Command::new(words.remove(0));
    command.args(words).args(["up", "--demo", "--data", "lifeboat-data", "--admin", "127.0.0.1:0", "--proxy", "127.0.0.1:0"]);
    if let Some(log) = log {
        command.env("LIFEBOAT_LOG", log);
    }
    let (out, err) = stdio(home.path().join("lifeboat.log"));
    let child: Child = command.current_dir(home.path()).stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap();
    Lifeboat::adopt(home, child)
}

fn to_log(path: PathBuf) -> (Stdio, Stdio) {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    (log.try_clone().unwrap().into(), log.into())
}

fn descriptors(lifeboat: &Lifeboat) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", lifeboat.pid())).unwrap().count()
}

/// Processor time so far, in clock ticks of 10 ms.
fn ticks(lifeboat: &Lifeboat) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", lifeboat.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn lines_with(lifeboat: &Lifeboat, words: &str) -> usize {
    std::fs::read_to_string(lifeboat.home().join("lifeboat.log")).unwrap().lines().filter(|line| line.contains(words)).count()
}

fn is_well(lifeboat: &Lifeboat) -> bool {
    crate::https::get(&lifeboat.admin, &lifeboat.ca(), "/health").is_ok_and(|answer| answer.status == 200)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// One call of `echo` on a connection of its own; its JSON.
fn echo(lifeboat: &Lifeboat, key: &str) -> Value {
    let raw = Raw::through(lifeboat, "scripted", key);
    let answer = raw.modern("tools/call", Some("echo"), r#""name":"echo","arguments":{"text":"x"},"#);
    serde_json::from_str(&message(&answer)).unwrap_or_else(|_| json!({"http": answer.status, "body": answer.body}))
}

/// Whether an order to stop stands in state.db, asked from outside.
fn in_database(lifeboat: &Lifeboat, decision: &str) -> bool {
    const COUNT: &str = "import sqlite3,sys
db = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True)
print(db.execute('SELECT count(*) FROM kill_states WHERE decision_id = ?', (sys.argv[2],)).fetchone()[0])";
    let counted = Command::new("python3").args(["-c", COUNT]).arg(lifeboat.data().join("state.db")).arg(decision).output().unwrap();
    counted.stdout == b"1\n"
}

const FAULT: &str = "a connection could not be accepted";

#[test]
fn flt_12_out_of_descriptors_the_dashboard_and_the_kill_switch_work() {
    let lifeboat = started(&["prlimit", "--nofile=256:256"], None, to_log);
    let _scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let key = lifeboat.client_for("scripted", "loader");
    let first = echo(&lifeboat, &key);
    assert!(first["result"].is_object(), "{first}");
    let before = descriptors(&lifeboat);
    let crowd: Vec<TcpStream> = (0..400).filter_map(|_| TcpStream::connect(&lifeboat.proxy).ok()).collect();
    assert!(crowd.len() > 200, "the listener goes on accepting: {}", crowd.len());
    sleep(Duration::from_millis(500));
    let (used, begun) = (ticks(&lifeboat), Instant::now());
    println!("{before} descriptors before the crowd, {} with it, of 256", descriptors(&lifeboat));
    assert!(descriptors(&lifeboat) < 250, "some are nobody's: {}", descriptors(&lifeboat));
    assert!(is_well(&lifeboat), "the dashboard answers");
    let engaged = lifeboat.json(&["kill", "engage", "--reason", "crowd"]);
    // A database that takes its time is written after the answer.
    let is_kept = ["db", "file"].iter().any(|place| engaged["persisted"] == *place);
    assert!(engaged["effective"] == true && is_kept, "{engaged}");
    assert!(lifeboat.data().join("KILL").exists());
    wait("the database has it", 10, || in_database(&lifeboat, engaged["decision_id"].as_str().unwrap()).then_some(()));
    assert_eq!(lifeboat.json(&["kill", "status"])["engaged"], true);
    sleep(Duration::from_secs(2));
    let (spent, time) = (ticks(&lifeboat) - used, begun.elapsed());
    assert!(u128::from(spent) * 10 < time.as_millis(), "{spent} ticks in {time:?}: it spins");
    let said = lines_with(&lifeboat, FAULT);
    assert!(said as u64 <= time.as_secs() + 2, "{said} lines in {time:?}");
    drop(crowd);
    wait("the places are free again", 30, || (descriptors(&lifeboat) <= before + 8).then_some(()));
    assert_eq!(echo(&lifeboat, &key)["error"]["code"], -31001, "it serves again, and is stopped as ordered");
    lifeboat.json(&["kill", "release", "--reason", "over"]);
    assert!(echo(&lifeboat, &key)["result"].is_object());
}

#[test]
fn flt_12_when_nothing_can_be_accepted_it_says_so_once_a_second_rests_and_recovers() {
    let lifeboat = started(&["prlimit", "--nofile=512:512"], None, to_log);
    let prlimit = |soft: usize| {
        let (pid, limit) = (lifeboat.pid().to_string(), format!("--nofile={soft}:512"));
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    };
    // Every number below the highest in use is taken or above the limit.
    prlimit(3);
    let (used, begun) = (ticks(&lifeboat), Instant::now());
    let crowd: Vec<TcpStream> = (0..40).filter_map(|_| TcpStream::connect(&lifeboat.proxy).ok()).collect();
    sleep(Duration::from_secs(3));
    let (spent, time, said) = (ticks(&lifeboat) - used, begun.elapsed(), lines_with(&lifeboat, FAULT));
    assert!(said >= 1, "it is said");
    assert!(said as u64 <= time.as_secs() + 1, "{said} lines in {time:?}");
    assert!(u128::from(spent) * 20 < time.as_millis(), "{spent} ticks in {time:?}: it spins");
    lifeboat.signal("USR2");
    prlimit(512);
    drop(crowd);
    wait("it accepts again", 20, || lifeboat.is_ready().then_some(()));
    wait("the stop that was ordered meanwhile", 20, || (lifeboat.json(&["kill", "status"])["engaged"] == true).then_some(()));
    wait("and is kept", 20, || lifeboat.data().join("KILL").exists().then_some(()));
}

/// A cgroup of this many MiB for a process, where this account can make one; it ends with the value.
struct Cage(PathBuf);

impl Cage {
    fn of(pid: u32, mib: u64) -> Option<Self> {
        let first = PathBuf::from("/sys/fs/cgroup/memory").join(format!("lifeboat-{pid}"));
        let second = PathBuf::from("/sys/fs/cgroup").join(format!("lifeboat-{pid}"));
        for (dir, limit) in [(first, "memory.limit_in_bytes"), (second, "memory.max")] {
            let put =
                |name: &str, text: String| std::fs::OpenOptions::new().write(true).open(dir.join(name))?.write_all(text.as_bytes());
            if !dir.parent().is_some_and(|parent| parent.join("cgroup.procs").exists()) || std::fs::create_dir(&dir).is_err() {
                continue;
            }
            let cage = Self(dir.clone());
            if put(limit, (mib << 20).to_string()).and_then(|()| put("cgroup.procs", pid.to_string())).is_ok() {
                return Some(cage);
            }
        }
        None
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        // Only an empty one can be removed; its process ends with the test, and after this value where the test has failed.
        if std::thread::panicking() {
            return;
        }
        wait("the cage is empty", 20, || std::fs::remove_dir(&self.0).ok());
    }
}

async fn dial(dialer: &Dialer) -> Option<Connection> {
    dialer.dial().await.ok()
}

/// Sends a megabyte but for its last byte, waits for `go`, sends that too; the status of the answer, 0 when there was none.
async fn megabyte(dialer: Dialer, authority: String, key: String, go: tokio::sync::watch::Receiver<bool>) -> u16 {
    let Some(mut stream) = dial(&dialer).await else { return 0 };
    let text = "x".repeat(1_000_000);
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"name": "echo", "arguments": {"text": text}, "_meta": meta});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let head = format!(
        "POST /mcp/scripted HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n\
         Mcp-Method: tools/call\r\nMcp-Name: echo\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let (most, last) = body.as_bytes().split_at(body.len() - 1);
    let mut go = go;
    let sent = async {
        stream.write_all(head.as_bytes()).await.ok()?;
        tokio::select! {
            sent = stream.write_all(most) => sent.ok()?,
            // Who finds no room waits in the socket; it is not read until others are done.
            _ = async { go.wait_for(|go| *go).await.map(drop) } => stream.write_all(most).await.ok()?,
        }
        go.wait_for(|go| *go).await.ok()?;
        stream.write_all(last).await.ok()
    };
    let mut answer = [0u8; 12];
    if sent.await.is_none() || stream.read_exact(&mut answer).await.is_err() {
        return 0;
    }
    let status = text_of(&answer);
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_millis(200), stream.read_to_end(&mut rest)).await;
    status
}

fn text_of(head: &[u8; 12]) -> u16 {
    std::str::from_utf8(&head[9..]).ok().and_then(|code| code.parse().ok()).unwrap_or(0)
}

#[test]
fn flt_13_two_hundred_megabytes_of_requests_do_not_fill_the_memory() {
    let lifeboat = Lifeboat::start();
    let _scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let keys: Vec<String> = (0..8).map(|n| lifeboat.client_for("scripted", &format!("heavy-{n}"))).collect();
    let key_file = lifeboat.secret_file("warm.key", &keys[0]);
    let warm = Load::start(&lifeboat, "scripted", &key_file, "warm", &["--rate", "200", "--connections", "16", "--tool", "echo"]);
    sleep(Duration::from_secs(3));
    warm.finish();
    let idle = lifeboat.rss_kib();
    let cage = Cage::of(lifeboat.pid(), 256);
    println!("{}", if cage.is_some() { "in a cage of 256 MiB" } else { "without a cage: this account cannot make one" });
    let (order, go) = tokio::sync::watch::channel(false);
    let (authority, ca, peak) = (lifeboat.proxy.clone(), lifeboat.ca(), Arc::new(Mutex::new(0)));
    let statuses = runtime().block_on(async {
        let dialer = Dialer::new(&authority, &ca, &[]).unwrap();
        let mut all = tokio::task::JoinSet::new();
        for n in 0..200 {
            all.spawn(megabyte(dialer.clone(), authority.clone(), keys[n % keys.len()].clone(), go.clone()));
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
        *peak.lock().unwrap() = lifeboat.rss_kib();
        assert!(is_well(&lifeboat), "the dashboard answers");
        order.send(true).unwrap();
        all.join_all().await
    });
    let peak = *peak.lock().unwrap();
    let count = |status: u16| statuses.iter().filter(|found| **found == status).count();
    println!("KiB idle {idle}, with 200 MB on their way {peak}; 200: {}, 408: {}, cut: {}", count(200), count(408), count(0));
    assert!(peak < idle + 160 * 1024, "{peak} KiB of memory, {idle} KiB idle");
    assert_eq!(count(200) + count(408) + count(413) + count(0), 200, "{statuses:?}");
    assert!(count(200) >= 60, "what found room is served: {statuses:?}");
    assert!(echo(&lifeboat, &keys[0])["result"].is_object(), "and it goes on");
    let rested =
        wait("most of the memory is given back at rest", 10, || Some(lifeboat.rss_kib()).filter(|now| *now < idle + 64 * 1024));
    println!("KiB {rested} at rest");
    // A thread gives back what others have freed in its pages when it is at work again.
    let after = Load::start(&lifeboat, "scripted", &key_file, "after", &["--rate", "200", "--connections", "16", "--tool", "echo"]);
    let began = Instant::now();
    let settled = wait("the memory is given back", 40, || Some(lifeboat.rss_kib()).filter(|now| now * 10 <= idle * 14));
    println!("KiB {settled} after {} ms of ordinary calls", began.elapsed().as_millis());
    after.finish();
    let environment = std::fs::read(format!("/proc/{}/environ", lifeboat.pid())).unwrap();
    for told in ["MIMALLOC_PURGE_DELAY=10", "MIMALLOC_GENERIC_COLLECT=1000"] {
        assert!(environment.split(|byte| *byte == 0).any(|pair| pair == told.as_bytes()), "the allocator was told {told}");
    }
    drop(lifeboat);
    drop(cage);
}

/// Milliseconds from when a call was due to its answer, of the one that waited longest: one stall is what must not be.
fn slowest_ms(lines: &[Value]) -> u64 {
    lines.iter().map(|line| (line["done_ns"].as_u64().unwrap() - line["due_ns"].as_u64().unwrap()) / 1_000_000).max().unwrap()
}

fn steady(lifeboat: &Lifeboat, key_file: &std::path::Path, tag: &str, seconds: u64) -> Vec<Value> {
    let load = Load::start(lifeboat, "scripted", key_file, tag, &["--rate", "40", "--connections", "4", "--tool", "echo"]);
    sleep(Duration::from_secs(seconds));
    load.finish()
}

#[test]
fn flt_14_idle_connections_cost_little_and_slow_nobody() {
    let lifeboat = Lifeboat::start();
    let _scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let key_file = lifeboat.secret_file("loader.key", &lifeboat.client_for("scripted", "loader"));
    let alone = steady(&lifeboat, &key_file, "alone", 4);
    let (idle, wanted) = (lifeboat.rss_kib(), sized(600, 3_500));
    let (authority, ca) = (lifeboat.proxy.clone(), lifeboat.ca());
    let runtime = runtime();
    let crowd: Vec<Connection> = runtime.block_on(async {
        let dialer = Dialer::new(&authority, &ca, &[]).unwrap();
        let mut crowd = Vec::new();
        for _ in 0..wanted {
            let mut stream = dial(&dialer).await.expect("there is a place");
            // One request each, so that the connection is one of a client that pauses.
            stream.write_all(format!("GET /ready HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes()).await.unwrap();
            assert!(stream.read(&mut [0; 512]).await.unwrap() > 0);
            crowd.push(stream);
        }
        crowd
    });
    let each = (lifeboat.rss_kib() - idle.min(lifeboat.rss_kib())) / wanted;
    let among = steady(&lifeboat, &key_file, "among", 4);
    let (before, after) = (slowest_of_a_usual_second_ms(&alone), slowest_of_a_usual_second_ms(&among));
    println!("{wanted} idle connections: {each} KiB each; slowest call of a second {before} ms alone, {after} ms among them");
    assert!(each <= 96, "{each} KiB each");
    assert!(among.iter().all(|line| line["status"] == "ok"));
    assert!(
        after <= (before * 3 / 2).max(before + 100),
        "slowest call of a second {before} ms alone, {after} ms among {wanted} idle connections"
    );
    drop(crowd);
}

#[test]
fn flt_26_a_log_that_nobody_reads_holds_up_no_call_and_no_kill() {
    let mut lifeboat = started(&["env"], Some("trace"), |_| (Stdio::piped(), Stdio::piped()));
    let _scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let key_file = lifeboat.secret_file("loader.key", &lifeboat.client_for("scripted", "loader"));
    let password = Command::new(binary())
        .args(["operator", "add", "watcher", "--role", "viewer", "--password-stdin", "--data"])
        .arg(lifeboat.data())
        .stdin(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            child.stdin.take().unwrap().write_all(b"correct horse battery staple 9")?;
            child.wait()
        });
    assert!(password.unwrap().success());
    let key = lifeboat.json(&["operator", "key", "add", "watcher"])["key"].as_str().unwrap().to_owned();
    let dropped = || {
        let request = hyper::Request::get("/metrics").header("authorization", format!("Bearer {key}"));
        let metrics = crate::https::send(&lifeboat.admin, &lifeboat.ca(), request, String::new()).unwrap().body;
        let line = metrics.lines().find_map(|line| line.strip_prefix("lifeboat_log_lines_dropped_total "))?;
        line.parse::<u64>().ok().filter(|lines| *lines > 0)
    };
    let load =
        Load::start(&lifeboat, "scripted", &key_file, "calls", &["--rate", "60", "--connections", "4", "--tool", "echo", "--h2"]);
    let lost = wait("lines that were dropped are counted in /metrics", 60, dropped);
    // From here on every line is one too many.
    sleep(Duration::from_secs(2));
    let engaged = lifeboat.json(&["kill", "engage", "--reason", "nobody reads the log"]);
    let is_kept = ["db", "file"].iter().any(|place| engaged["persisted"] == *place);
    assert!(engaged["effective"] == true && is_kept, "{engaged}");
    lifeboat.json(&["audit", "checkpoint"]);
    lifeboat.json(&["kill", "release", "--reason", "over"]);
    sleep(Duration::from_secs(1));
    let calls = load.finish();
    let (served, stopped): (Vec<&Value>, Vec<&Value>) = calls.iter().partition(|line| line["status"] == "ok");
    println!(
        "{lost} lines were lost when first counted; {} calls served, {} stopped; the slowest {} ms",
        served.len(),
        stopped.len(),
        slowest_ms(&calls)
    );
    assert!(stopped.iter().all(|line| line["code"] == -31001), "{stopped:?}");
    assert!(served.len() > 60 && slowest_ms(&calls) < 5_000, "calls wait for nobody who reads the log");
    lifeboat.signal("TERM");
    lifeboat.wait_end(20);
}
