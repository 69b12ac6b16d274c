//! HAProxy and nginx of Debian in front, at layer 4 and at layer 7: calls and streams flow through, and the ledger shows each client's own
//! address.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use lifeboat_peers::tls::Dialer;
use serde_json::{Value, json};

use super::streams::Listeners;
use crate::harness::{Lifeboat, sized, text, wait};
use crate::ledger;
use crate::rig::{Running, Scripted, free_port};

const PUBLIC: &str = "https://mcp.example.test";
/// What the balancers cut when nothing moves. A stream says something every 15 s.
const IDLE_SECONDS: u64 = 20;

/// One way in: its name, its port, the address its client comes from.
struct Way {
    name: &'static str,
    port: u16,
    client: IpAddr,
}

fn ways() -> Vec<Way> {
    let names = ["haproxy layer 4", "haproxy to https", "haproxy to socket", "nginx layer 4", "nginx to https", "nginx to socket"];
    let way = |(at, name)| Way { name, port: free_port(), client: format!("127.0.1.{}", at + 1).parse().unwrap() };
    names.into_iter().enumerate().map(way).collect()
}

fn haproxy(folder: &Path, lifeboat: &Lifeboat, ports: &[u16]) -> Running {
    let (ca, proxy, folder_name) = (lifeboat.ca().display().to_string(), &lifeboat.proxy, folder.display());
    let [layer4, to_https, to_socket] = ports else { panic!("three ports") };
    let config = format!(
        "global\n  maxconn 200\ndefaults\n  timeout connect 5s\n  timeout client {IDLE_SECONDS}s\n  timeout server {IDLE_SECONDS}s\n\
         frontend layer4\n  mode tcp\n  bind 127.0.0.1:{layer4}\n  default_backend layer4\n\
         backend layer4\n  mode tcp\n  option httpchk GET /ready\n  http-check expect status 200\n  \
         server lifeboat {proxy} source 127.0.0.20 send-proxy-v2 check check-send-proxy check-ssl verify required ca-file {ca} verifyhost localhost check-sni localhost inter 2s fall 3 rise 1\n\
         frontend to_https\n  mode http\n  option forwardfor\n  bind 127.0.0.1:{to_https} ssl crt {folder_name}/both.pem alpn h2,http/1.1\n  default_backend to_https\n\
         backend to_https\n  mode http\n  option httpchk GET /ready\n  http-check expect status 200\n  \
         server lifeboat {proxy} source 127.0.0.20 ssl verify required ca-file {ca} verifyhost localhost sni str(localhost) check check-ssl check-sni localhost inter 2s fall 3 rise 1\n\
         frontend to_socket\n  mode http\n  option forwardfor\n  bind 127.0.0.1:{to_socket} ssl crt {folder_name}/both.pem\n  default_backend to_socket\n\
         backend to_socket\n  mode http\n  server lifeboat {folder_name}/proxy.sock\n"
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    let checked = Command::new("haproxy").args(["-c", "-f"]).arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}{}", text(&checked.stdout), text(&checked.stderr));
    let log = std::fs::File::create(folder.join("haproxy.log")).unwrap();
    let child = Command::new("haproxy")
        .args(["-db", "-f"])
        .arg(&file)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .stdin(Stdio::null())
        .spawn();
    Running(child.unwrap())
}

fn nginx(folder: &Path, lifeboat: &Lifeboat, ports: &[u16]) -> Running {
    let (ca, proxy, folder_name) = (lifeboat.ca().display().to_string(), &lifeboat.proxy, folder.display());
    let [layer4, to_https, to_socket] = ports else { panic!("three ports") };
    let web = format!(
        "proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_set_header Connection \"\"; \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_buffering off; proxy_request_buffering off; proxy_read_timeout {IDLE_SECONDS}s;"
    );
    let served =
        format!("ssl_certificate {folder_name}/both.pem; ssl_certificate_key {folder_name}/both.pem; ssl_protocols TLSv1.3;");
    let config = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off; worker_processes 1; user root; pid {folder_name}/nginx.pid; error_log {folder_name}/nginx.log;\n\
         events {{ worker_connections 200; }}\n\
         stream {{ server {{ listen 127.0.0.1:{layer4}; proxy_pass {proxy}; proxy_protocol on; proxy_bind 127.0.0.21; proxy_timeout {IDLE_SECONDS}s; }} }}\n\
         http {{ access_log off; client_body_temp_path {folder_name}/a; proxy_temp_path {folder_name}/b; fastcgi_temp_path {folder_name}/c; uwsgi_temp_path {folder_name}/d; scgi_temp_path {folder_name}/e;\n\
         server {{ listen 127.0.0.1:{to_https} ssl http2; {served} location / {{ proxy_pass https://{proxy}; proxy_bind 127.0.0.21; proxy_ssl_protocols TLSv1.3; \
         proxy_ssl_trusted_certificate {ca}; proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_server_name on; {web} }} }}\n\
         server {{ listen 127.0.0.1:{to_socket} ssl; {served} location / {{ proxy_pass http://unix:{folder_name}/proxy.sock; {web} }} }} }}\n"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let checked = Command::new("nginx").args(["-t", "-c"]).arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    // Without a master process, so that ending the child ends all of it.
    let child =
        Command::new("nginx").arg("-c").arg(&file).args(["-g", "master_process off;"]).stdin(Stdio::null()).spawn().unwrap();
    Running(child)
}

fn send(dialer: &Dialer, request: hyper::http::request::Builder, body: String) -> std::io::Result<(u16, hyper::HeaderMap, String)> {
    let request = request.header("host", dialer.authority()).body(Full::<Bytes>::from(body)).map_err(std::io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = dialer.dial().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        let driver = tokio::spawn(connection);
        let answer = tokio::time::timeout(Duration::from_secs(15), sender.send_request(request)).await?;
        let (head, body) = answer.map_err(std::io::Error::other)?.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        driver.abort();
        Ok((head.status.as_u16(), head.headers, text(&body)))
    })
}

fn call(dialer: &Dialer, key: &str, text: &str) -> std::io::Result<(u16, String)> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": text},
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}});
    let request = Request::post("/mcp/scripted")
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "echo")
        // What a client claims about itself stands left of what the balancer knows.
        .header("x-forwarded-for", "203.0.113.66");
    send(dialer, request, body.to_string()).map(|(status, _, body)| (status, body))
}

#[test]
fn behind_haproxy_and_nginx_every_client_has_its_own_address() {
    let mut lifeboat = Lifeboat::start();
    let folder = lifeboat.home().join("balancers");
    std::fs::create_dir(&folder).unwrap();
    let read = |name: &str| std::fs::read_to_string(lifeboat.data().join("tls").join(name)).unwrap();
    std::fs::write(folder.join("both.pem"), read("server.pem") + &read("server.key")).unwrap();
    let settings = std::fs::read_to_string(lifeboat.data().join("config/lifeboat.toml")).unwrap();
    let edge = format!(
        "public_url = \"{PUBLIC}\"\ntrusted_proxies = [\"127.0.0.20\", \"127.0.0.21\", \"unix:\"]\n{settings}\n\
         [listen.proxy_protocol]\nproxy = \"optional-from-trusted\"\n[listen.plain]\nproxy = \"unix:{}/proxy.sock\"\n",
        folder.display()
    );
    lifeboat.configure("lifeboat.toml", &edge);
    let _scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let key = lifeboat.client_for("scripted", "through");
    lifeboat.signal("TERM");
    assert_eq!(lifeboat.wait_exit(40).code(), Some(0));
    lifeboat.restart();
    let ways = ways();
    let ports: Vec<u16> = ways.iter().map(|way| way.port).collect();
    let _haproxy = haproxy(&folder, &lifeboat, &ports[..3]);
    let _nginx = nginx(&folder, &lifeboat, &ports[3..]);
    let dialers: Vec<Dialer> = ways
        .iter()
        .map(|way| Dialer::new(&format!("127.0.0.1:{}", way.port), &lifeboat.ca(), &[]).unwrap().coming_from(way.client))
        .collect();
    let mut listeners = Vec::new();
    for (way, dialer) in ways.iter().zip(&dialers) {
        let answered = wait(way.name, 20, || call(dialer, &key, way.name).ok().filter(|(status, _)| *status == 200));
        assert!(answered.1.contains(way.name), "{}: {}", way.name, answered.1);
        let path = "/.well-known/oauth-protected-resource/mcp/scripted";
        let (status, _, document) = send(dialer, Request::get(path), String::new()).unwrap();
        let document: Value = serde_json::from_str(&document).unwrap();
        assert_eq!((status, document["resource"].as_str()), (200, Some(format!("{PUBLIC}/mcp/scripted").as_str())), "{}", way.name);
        let (status, headers, _) = send(dialer, Request::post("/mcp/scripted"), "{}".into()).unwrap();
        let challenge = headers["www-authenticate"].to_str().unwrap().to_owned();
        assert!(status == 401 && challenge.contains(&format!("resource_metadata=\"{PUBLIC}{path}\"")), "{}: {challenge}", way.name);
        listeners.push(Listeners::start(dialer.clone(), "/mcp/scripted", &key, 1));
    }
    for (way, listener) in ways.iter().zip(&listeners) {
        wait(way.name, 20, || (listener.seen.open.load(Ordering::SeqCst) == 1).then_some(()));
    }
    std::thread::sleep(Duration::from_secs(sized(2 * IDLE_SECONDS + 5, 600)));
    for ((way, dialer), listener) in ways.iter().zip(&dialers).zip(&listeners) {
        let (open, ended, broken) = (&listener.seen.open, &listener.seen.ended, &listener.seen.broken);
        let now = [open, ended, broken].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(now, [1, 0, 0], "{}: an idle stream outlives the balancer's patience", way.name);
        assert!(listener.seen.pieces.load(Ordering::SeqCst) >= 2, "{}: signs of life came through", way.name);
        assert_eq!(call(dialer, &key, "after").unwrap().0, 200, "{}", way.name);
    }
    drop(listeners);
    let events = ledger::query(&lifeboat, &["--client", "through"]);
    for way in &ways {
        let own = events.iter().filter(|event| event["kind"] == "call" && event["remote"] == way.client.to_string()).count();
        assert!(own >= 2, "{}: {own} calls from {}", way.name, way.client);
    }
    let foreign: Vec<&Value> = events
        .iter()
        .filter(|event| !ways.iter().any(|way| event["remote"] == way.client.to_string()))
        .map(|event| &event["remote"])
        .collect();
    assert!(foreign.is_empty(), "nobody else called: {foreign:?}");
    let killed = lifeboat.json(&["kill", "engage", "--reason", "test"]);
    assert_eq!((&killed["effective"], killed["proofs"].as_array().map(Vec::len)), (&json!(true), Some(2)), "{killed}");
    let (status, body) = call(&dialers[0], &key, "killed").unwrap();
    assert!(status == 200 && body.contains("kill.engaged"), "{body}");
}
