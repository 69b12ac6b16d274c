//! Tools that ask in rounds: the first answer says what is missing, the retry brings it. Never trusts a state it did not seal.

use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientCapabilities, InputRequiredResult, InputResponses, RequestStateCodec,
};
use serde_json::{Value, json};

use super::catalog::read;
use super::tools::text;

type Answer = Result<CallToolResponse, ErrorData>;

/// Answers the tools named `test_input_required_result_…`; `round` is the rest of the name.
pub fn call(round: &str, request: &CallToolRequestParams, can: &ClientCapabilities, seal: &RequestStateCodec) -> Answer {
    match round {
        "elicitation" => elicitation(request),
        "sampling" => sampling(request),
        "list_roots" => list_roots(request),
        "request_state" => state(request, seal, "state-ok"),
        "tampered_state" => state(request, seal, "untampered"),
        "multiple_inputs" => multiple_inputs(request, seal),
        "multi_round" => multi_round(request, seal),
        "capabilities" => Ok(capabilities(request, can)),
        other => Err(ErrorData::invalid_params(format!("unknown round {other}"), None)),
    }
}

/// A question to the user that wants one value.
pub fn question(message: &str, wanted: &str, kind: &str) -> Value {
    let schema = json!({"type": "object", "properties": {wanted: {"type": kind}}, "required": [wanted]});
    json!({"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}})
}

/// A question to the model.
pub fn sample(prompt: &str, tokens: u32) -> Value {
    let message = json!({"role": "user", "content": {"type": "text", "text": prompt}});
    json!({"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": tokens}})
}

/// The result that asks.
pub fn required(questions: &[(&str, Value)], state: Option<String>) -> InputRequiredResult {
    let requests = questions.iter().map(|(key, question)| ((*key).to_owned(), read(question.clone()))).collect();
    InputRequiredResult::new(Some(requests), state)
}

/// The value `name` of an accepted question, as text.
pub fn accepted(responses: Option<&InputResponses>, key: &str, name: &str) -> Option<String> {
    let response = responses?.get(key)?;
    let value = response["content"].get(name).filter(|_| response["action"] == "accept")?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}

fn answered<'a>(request: &'a CallToolRequestParams, key: &str) -> Option<&'a Value> {
    request.input_responses.as_ref()?.get(key)
}

fn elicitation(request: &CallToolRequestParams) -> Answer {
    Ok(match accepted(request.input_responses.as_ref(), "user_name", "name") {
        Some(name) => text(&format!("Hello, {name}!")),
        None => required(&[("user_name", question("What is your name?", "name", "string"))], None).into(),
    })
}

fn sampling(request: &CallToolRequestParams) -> Answer {
    Ok(match answered(request, "capital_question").and_then(|answer| answer["content"]["text"].as_str()) {
        Some(answer) => text(answer),
        None => required(&[("capital_question", sample("What is the capital of France?", 100))], None).into(),
    })
}

fn list_roots(request: &CallToolRequestParams) -> Answer {
    Ok(match answered(request, "client_roots").and_then(|answer| answer["roots"].as_array()) {
        Some(roots) => {
            let uris: Vec<&str> = roots.iter().filter_map(|root| root["uri"].as_str()).collect();
            text(&format!("{} roots: {}", roots.len(), uris.join(", ")))
        }
        None => required(&[("client_roots", roots())], None).into(),
    })
}

/// What stood in the state; a state we did not seal is an error and no new question.
fn opened(request: &CallToolRequestParams, seal: &RequestStateCodec) -> Result<Option<Value>, ErrorData> {
    let opened = request.request_state.as_deref().map(|state| seal.open_json(state)).transpose();
    opened.map_err(|error| ErrorData::invalid_params(format!("requestState: {error}"), None))
}

fn sealed(seal: &RequestStateCodec, value: &Value) -> Result<Option<String>, ErrorData> {
    seal.seal_json(value).map(Some).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

fn state(request: &CallToolRequestParams, seal: &RequestStateCodec, word: &str) -> Answer {
    if opened(request, seal)?.is_some() && answered(request, "confirm").is_some() {
        return Ok(text(word));
    }
    let state = sealed(seal, &json!({"round": 1}))?;
    Ok(required(&[("confirm", question("Please confirm", "ok", "boolean"))], state).into())
}

fn multiple_inputs(request: &CallToolRequestParams, seal: &RequestStateCodec) -> Answer {
    let complete = ["user_name", "greeting", "client_roots"].iter().all(|key| answered(request, key).is_some());
    if opened(request, seal)?.is_some() && complete {
        return Ok(text("All three answers came."));
    }
    let questions = [
        ("user_name", question("What is your name?", "name", "string")),
        ("greeting", sample("Generate a greeting", 50)),
        ("client_roots", roots()),
    ];
    Ok(required(&questions, sealed(seal, &json!({"round": 1}))?).into())
}

fn multi_round(request: &CallToolRequestParams, seal: &RequestStateCodec) -> Answer {
    let state = opened(request, seal)?.unwrap_or_default();
    let answers = request.input_responses.as_ref();
    if state["round"] == 2
        && let Some(color) = accepted(answers, "step2", "color")
    {
        let name = state["name"].as_str().unwrap_or_default();
        return Ok(text(&format!("{name} likes {color}.")));
    }
    if state["round"] == 1
        && let Some(name) = accepted(answers, "step1", "name")
    {
        let state = sealed(seal, &json!({"round": 2, "name": name}))?;
        return Ok(required(&[("step2", question("Step 2: What is your favorite color?", "color", "string"))], state).into());
    }
    let state = sealed(seal, &json!({"round": 1}))?;
    Ok(required(&[("step1", question("Step 1: What is your name?", "name", "string"))], state).into())
}

fn capabilities(request: &CallToolRequestParams, can: &ClientCapabilities) -> CallToolResponse {
    if request.input_responses.is_some() {
        return text("Answered.");
    }
    let mut questions = Vec::new();
    if can.sampling.is_some() {
        questions.push(("sampled", sample("Say hello", 20)));
    }
    if can.elicitation.is_some() {
        questions.push(("asked", question("What is your name?", "name", "string")));
    }
    if can.roots.is_some() {
        questions.push(("listed", roots()));
    }
    if questions.is_empty() { text("There is nothing this client could be asked.") } else { required(&questions, None).into() }
}
