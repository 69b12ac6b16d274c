//! Drives crates.io `rmcp`: `rmcp_client CA auto|legacy`, the key in LIFEBOAT_KEY. Takes and answers the orders that
//! tests/e2e/clients/py_client.py describes, one JSON line each. Trusts no root but the given one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ClientRequest, ElicitRequestParams,
    ElicitResult, ElicitationCapability, FormElicitationCapability, Implementation, ProgressNotificationParam, ProgressToken,
    ProtocolVersion, ServerResult,
};
use rmcp::service::{NotificationContext, PeerRequestOptions, RequestContext, RequestHandle, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

type Seen = Vec<(Instant, f64, Option<f64>)>;

/// What a user of this client would see and say.
#[derive(Clone, Default)]
struct User {
    answer: Option<Value>,
    asked: Arc<Mutex<Vec<String>>>,
    progress: Arc<Mutex<HashMap<ProgressToken, Seen>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientHandler for User {
    fn get_info(&self) -> ClientConfig {
        let mut capabilities = ClientCapabilities::default();
        if self.answer.is_some() {
            capabilities.elicitation = Some(ElicitationCapability::new().with_form(FormElicitationCapability::new()));
        }
        ClientConfig::new(capabilities, Implementation::new("e2e-rmcp", "1"))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        if let ElicitRequestParams::FormElicitationParams { message, .. } = request {
            locked(&self.asked).push(message);
        }
        serde_json::from_value(json!({"action": "accept", "content": self.answer}))
            .map_err(|fault| ErrorData::internal_error(fault.to_string(), None))
    }

    async fn on_progress(&self, params: ProgressNotificationParam, _context: NotificationContext<RoleClient>) {
        let step = (Instant::now(), params.progress, params.total);
        locked(&self.progress).entry(params.progress_token).or_default().push(step);
    }
}

/// One connection. Its service ends when it is closed.
struct Connection {
    service: RunningService<RoleClient, User>,
    user: User,
}

/// The command line.
#[derive(Clone)]
struct Settings {
    http: reqwest::Client,
    legacy: bool,
    key: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, ca, mode] = args.as_slice() else { anyhow::bail!("usage: rmcp_client CA auto|legacy") };
    // The transport's TLS comes without a provider of its own.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let root = reqwest::Certificate::from_pem(&std::fs::read(ca)?)?;
    let http = reqwest::Client::builder().tls_certs_only([root]).https_only(true).build()?;
    let settings = Settings { http, legacy: mode == "legacy", key: std::env::var("LIFEBOAT_KEY")? };
    let mut connections: HashMap<String, Arc<Connection>> = HashMap::new();
    let mut running = tokio::task::JoinSet::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let order: Value = serde_json::from_str(&line)?;
        let name = order["as"].as_str().unwrap_or_default().to_owned();
        if order["do"] == "connect" {
            let answer = match connect(&settings, &order).await {
                Ok((connection, protocol)) => {
                    connections.insert(name, Arc::new(connection));
                    json!({"ok": true, "protocol": protocol})
                }
                Err(why) => json!({"ok": false, "code": null, "message": why}),
            };
            say(&order, answer);
        } else if order["do"] == "close" {
            // The service ends with the last call that holds it.
            connections.remove(&name);
            say(&order, json!({"ok": true}));
        } else if let Some(connection) = connections.get(&name).cloned() {
            running.spawn(async move { say(&order, obey(&connection, &order).await.unwrap_or_else(|fault| failure(&fault))) });
        } else {
            say(&order, json!({"ok": false, "code": null, "message": "no such connection"}));
        }
    }
    drop(tokio::time::timeout(Duration::from_secs(5), running.join_all()).await);
    for connection in connections.into_values().filter_map(Arc::into_inner) {
        drop(tokio::time::timeout(Duration::from_secs(2), connection.service.cancel()).await);
    }
    Ok(())
}

async fn connect(settings: &Settings, order: &Value) -> Result<(Connection, String), String> {
    let url = order["url"].as_str().ok_or("connect needs a url")?.to_owned();
    let config = StreamableHttpClientTransportConfig::with_uri(url).auth_header(settings.key.clone());
    let transport = StreamableHttpClientTransport::with_client(settings.http.clone(), config);
    let mode = match settings.legacy {
        true => ClientLifecycleMode::Initialize,
        false => ClientLifecycleMode::Auto { preferred_versions: vec![ProtocolVersion::V_2026_07_28], legacy_version: None },
    };
    let user = User { answer: order.get("elicit").cloned(), ..User::default() };
    let service = user.clone().serve_with_lifecycle(transport, mode).await.map_err(|fault| fault.to_string())?;
    let protocol = service.peer_info().map(|info| info.protocol_version.to_string()).unwrap_or_default();
    Ok((Connection { service, user }, protocol))
}

async fn obey(connection: &Connection, order: &Value) -> Result<Value, ServiceError> {
    let started = Instant::now();
    match order["do"].as_str().unwrap_or_default() {
        "list" => {
            let mut names: Vec<String> =
                connection.service.list_all_tools().await?.into_iter().map(|tool| tool.name.into_owned()).collect();
            names.sort();
            Ok(json!({"ok": true, "tools": names}))
        }
        "call" => {
            let result = connection.service.call_tool(params(order)).await?;
            Ok(with(result_line(&result), json!({"asked": *locked(&connection.user.asked)})))
        }
        "progress" => {
            let handle = send(connection, order).await?;
            let token = handle.progress_token.clone();
            let ServerResult::CallToolResult(result) = handle.await_response().await? else {
                return Err(ServiceError::UnexpectedResponse);
            };
            // The SDK hands notifications to tasks of their own, which may come to their turn after the answer.
            let due = order["arguments"]["steps"].as_u64().unwrap_or_default();
            let noted = |steps: u64| locked(&connection.user.progress).get(&token).is_some_and(|seen| seen.len() as u64 >= steps);
            while !noted(due) && started.elapsed() < Duration::from_secs(10) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let seen = locked(&connection.user.progress).remove(&token).unwrap_or_default();
            let spread = seen.last().zip(seen.first()).map_or(0, |(last, first)| (last.0 - first.0).as_millis());
            let steps: Vec<Value> = seen.iter().map(|(_, step, total)| json!([step, total])).collect();
            Ok(with(result_line(&result), json!({"progress": steps, "spread_ms": u64::try_from(spread).unwrap_or(u64::MAX)})))
        }
        "cancel" => {
            let handle = send(connection, order).await?;
            tokio::time::sleep(Duration::from_millis(order["after_ms"].as_u64().unwrap_or_default())).await;
            handle.cancel(Some("the test cancels".to_owned())).await?;
            Ok(json!({"ok": true, "ms": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)}))
        }
        other => Ok(json!({"ok": false, "code": null, "message": format!("unknown order {other}")})),
    }
}

fn params(order: &Value) -> CallToolRequestParams {
    let params = CallToolRequestParams::new(order["tool"].as_str().unwrap_or_default().to_owned());
    match order["arguments"].as_object() {
        Some(arguments) => params.with_arguments(arguments.clone()),
        None => params,
    }
}

async fn send(connection: &Connection, order: &Value) -> Result<RequestHandle<RoleClient>, ServiceError> {
    let request = ClientRequest::CallToolRequest(CallToolRequest::new(params(order)));
    connection.service.send_cancellable_request(request, PeerRequestOptions::no_options()).await
}

fn result_line(result: &CallToolResult) -> Value {
    let result = serde_json::to_value(result).unwrap_or_default();
    let parts = result["content"].as_array().cloned().unwrap_or_default();
    let text: String = parts.iter().filter_map(|part| part["text"].as_str()).collect();
    json!({"ok": result["isError"] != true, "text": text, "structured": result["structuredContent"]})
}

fn failure(fault: &ServiceError) -> Value {
    match fault {
        ServiceError::McpError(error) => {
            json!({"ok": false, "code": error.code.0, "message": error.message, "data": error.data})
        }
        other => json!({"ok": false, "code": null, "message": other.to_string()}),
    }
}

fn with(mut line: Value, more: Value) -> Value {
    if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
        line.extend(more);
    }
    line
}

fn say(order: &Value, answer: Value) {
    println!("{}", with(json!({"n": order["n"], "step": order["do"]}), answer));
}
