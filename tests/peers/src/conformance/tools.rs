//! `tools/call`: finds the tool, and answers those that need nobody else. Keeps no state between calls.

use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, LoggingLevel, LoggingMessageNotificationParam,
    ProgressNotificationParam,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};

use super::catalog::{PNG, WAV, read};
use super::{Change, Fixture, asks, jobs, rounds};

/// The pause between two signs of life of one call.
const BEAT: Duration = Duration::from_millis(50);

/// Text and nothing else.
pub fn text(text: &str) -> CallToolResponse {
    result(json!([{"type": "text", "text": text}]), false).into()
}

/// A complete result.
pub fn result(content: Value, is_error: bool) -> CallToolResult {
    read(json!({"resultType": "complete", "content": content, "isError": is_error}))
}

/// One call.
pub async fn call(
    fixture: &Fixture,
    request: CallToolRequestParams,
    context: RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let can = context.client_capabilities().unwrap_or_default();
    let name = request.name.clone();
    if let Some(answer) = plain(&name, &request) {
        return Ok(answer);
    }
    if let Some(round) = name.strip_prefix("test_input_required_result_") {
        return rounds::call(round, &request, &can, &fixture.shared.seal);
    }
    match name.as_ref() {
        "test_missing_capability" => {
            needs_sampling(&can)?;
            Ok(text("The client can sample."))
        }
        "test_tool_with_logging" | "test_logging_tool" => log(fixture, &context).await,
        "test_tool_with_progress" => progress(&context).await,
        "test_reconnection" => {
            tokio::time::sleep(BEAT * 6).await;
            Ok(text("The answer came after the stream was closed."))
        }
        "test_trigger_tool_change" => change(fixture, &context, Change::Tools).await,
        "test_trigger_prompt_change" => change(fixture, &context, Change::Prompts).await,
        _ => match jobs::call(&fixture.shared.tasks, &request, &can).await {
            Some(answer) => answer,
            None => asks::call(&request, &context, &can).await,
        },
    }
}

/// A string argument, or nothing.
pub fn argument<'a>(request: &'a CallToolRequestParams, name: &str) -> &'a str {
    request.arguments.as_ref().and_then(|arguments| arguments.get(name)?.as_str()).unwrap_or_default()
}

fn plain(name: &str, request: &CallToolRequestParams) -> Option<CallToolResponse> {
    let image = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
    let content = match name {
        "test_simple_text" => return Some(text("This is a simple text response for testing.")),
        "test_image_content" => json!([image]),
        "test_audio_content" => json!([{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]),
        "test_embedded_resource" => {
            let text = "This is an embedded resource content.";
            json!([{"type": "resource", "resource": {"uri": "test://embedded-resource", "mimeType": "text/plain", "text": text}}])
        }
        "test_multiple_content_types" => {
            let (uri, text) = ("test://mixed-content-resource", json!({"test": "data", "value": 123}).to_string());
            let resource = json!({"type": "resource", "resource": {"uri": uri, "mimeType": "application/json", "text": text}});
            json!([{"type": "text", "text": "Multiple content types test:"}, image, resource])
        }
        "test_error_handling" => {
            let text = "This tool intentionally returns an error for testing";
            return Some(result(json!([{"type": "text", "text": text}]), true).into());
        }
        "test_x_mcp_header" => return Some(text(&format!("region: {}", argument(request, "region")))),
        "greet" => return Some(text(&format!("Hello, {}!", argument(request, "name")))),
        "json_schema_2020_12_tool" => return Some(text("The schema of this tool is what counts.")),
        _ => return None,
    };
    Some(result(content, false).into())
}

fn needs_sampling(can: &ClientCapabilities) -> Result<(), ErrorData> {
    if can.sampling.is_some() {
        return Ok(());
    }
    Err(ErrorData::missing_required_client_capability(ClientCapabilities::builder().enable_sampling().build()))
}

/// Three lines at level info; none to a client of the modern era that did not ask for them.
async fn log(fixture: &Fixture, context: &RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
    let wanted = if super::is_modern(context) { context.meta.log_level() } else { Some(fixture.level()) };
    let heard = wanted.is_some_and(|level| matches!(level, LoggingLevel::Debug | LoggingLevel::Info));
    for (at, line) in ["Tool execution started", "Tool processing data", "Tool execution completed"].into_iter().enumerate() {
        if at > 0 {
            tokio::time::sleep(BEAT).await;
        }
        if heard {
            let line = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(line));
            context.peer.notify_logging_message(line).await.map_err(gone)?;
        }
    }
    Ok(text("Logged."))
}

async fn progress(context: &RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
    let token = context.meta.get_progress_token();
    for done in [0.0, 50.0, 100.0] {
        if let Some(token) = token.clone() {
            let step = ProgressNotificationParam::new(token, done).with_total(100.0);
            context.peer.notify_progress(step).await.map_err(gone)?;
        }
        tokio::time::sleep(BEAT).await;
    }
    Ok(text("All steps are done."))
}

async fn change(fixture: &Fixture, context: &RequestContext<RoleServer>, change: Change) -> Result<CallToolResponse, ErrorData> {
    // Nobody may be listening; that is no fault.
    let _ = fixture.shared.changes.send(change);
    if !super::is_modern(context) {
        let told = match change {
            Change::Tools => context.peer.notify_tool_list_changed().await,
            Change::Prompts => context.peer.notify_prompt_list_changed().await,
        };
        told.map_err(gone)?;
    }
    Ok(text("Told everyone who listens."))
}

/// The client went away in the middle of a call.
pub fn gone(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}
