//! Tools that ask the client in the middle of a call: as requests of their own in the legacy era, as a round in the modern one. Never asks a
//! client for what it did not declare.

use rmcp::model::{CallToolRequestParams, CallToolResponse, ClientCapabilities, CreateMessageRequestParams, ElicitRequestParams};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};

use super::catalog::read;
use super::rounds;
use super::tools::{argument, gone, text};

/// The key under which a round asks.
const KEY: &str = "asked";

/// Answers the tools that ask one question.
pub async fn call(
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
    can: &ClientCapabilities,
) -> Result<CallToolResponse, ErrorData> {
    let (question, before) = match request.name.as_ref() {
        "test_sampling" => (rounds::sample(argument(request, "prompt"), 100), "LLM response: "),
        "test_elicitation" => (user(argument(request, "message")), "User response: "),
        "test_elicitation_sep1034_defaults" => (defaults(), "Elicitation completed: "),
        "test_elicitation_sep1330_enums" => (choices(), "Elicitation completed: "),
        "test_streaming_elicitation" => (user("Who is there?"), "User response: "),
        other => return Err(ErrorData::invalid_params(format!("unknown tool {other}"), None)),
    };
    let samples = question["method"] == "sampling/createMessage";
    let able = if samples { can.sampling.is_some() } else { can.elicitation.is_some() };
    if !able {
        let needed = ClientCapabilities::builder();
        let needed = if samples { needed.enable_sampling().build() } else { needed.enable_elicitation().build() };
        return Err(ErrorData::missing_required_client_capability(needed));
    }
    let answer = if super::is_modern(context) {
        let Some(answer) = request.input_responses.as_ref().and_then(|responses| responses.get(KEY)) else {
            return Ok(rounds::required(&[(KEY, question)], None).into());
        };
        answer.clone()
    } else {
        ask(context, &question).await?
    };
    let said = if samples {
        answer["content"]["text"].as_str().unwrap_or_default().to_owned()
    } else {
        let action = answer["action"].as_str().unwrap_or_default();
        format!("action={action}, content={}", answer["content"])
    };
    Ok(text(&format!("{before}{said}")))
}

async fn ask(context: &RequestContext<RoleServer>, question: &Value) -> Result<Value, ErrorData> {
    let params = question["params"].clone();
    let answer = if question["method"] == "sampling/createMessage" {
        let params: CreateMessageRequestParams = read(params);
        serde_json::to_value(context.peer.create_message(params).await.map_err(gone)?)
    } else {
        let params: ElicitRequestParams = read(params);
        serde_json::to_value(context.peer.create_elicitation(params).await.map_err(gone)?)
    };
    answer.map_err(gone)
}

fn form(message: &str, properties: &Value, required: &[&str]) -> Value {
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    json!({"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}})
}

fn user(message: &str) -> Value {
    let properties = json!({
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    });
    form(message, &properties, &["username", "email"])
}

fn defaults() -> Value {
    let properties = json!({
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": true},
    });
    form("Please look over the values", &properties, &[])
}

fn choices() -> Value {
    let options = json!(["option1", "option2", "option3"]);
    let titled = |words: [&str; 3]| {
        let values = ["value1", "value2", "value3"];
        json!(values.iter().zip(words).map(|(value, title)| json!({"const": value, "title": title})).collect::<Vec<_>>())
    };
    let properties = json!({
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled(["First Option", "Second Option", "Third Option"])},
        "legacyEnum": {
            "type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled(["First Choice", "Second Choice", "Third Choice"])}},
    });
    form("Please choose", &properties, &[])
}
