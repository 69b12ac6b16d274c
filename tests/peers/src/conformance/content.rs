//! Prompts, resources and completions of the fixture. Never asks a client for anything but in the one prompt that is made for it.

use rmcp::ErrorData;
use rmcp::model::{
    CompleteRequestParams, CompleteResult, GetPromptRequestParams, GetPromptResponse, GetPromptResult, ReadResourceResponse,
    ReadResourceResult,
};
use serde_json::{Value, json};

use super::catalog::{PNG, read};
use super::rounds;

/// `prompts/get`.
pub fn prompt(request: &GetPromptRequestParams) -> Result<GetPromptResponse, ErrorData> {
    let argument = |name: &str| {
        let given = request.arguments.as_ref().and_then(|arguments| arguments.get(name)?.as_str());
        given.ok_or_else(|| ErrorData::invalid_params(format!("argument {name} is missing"), None))
    };
    let text = |text: &str| json!({"role": "user", "content": {"type": "text", "text": text}});
    let messages = match request.name.as_str() {
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => {
            vec![text(&format!("Prompt with arguments: arg1='{}', arg2='{}'", argument("arg1")?, argument("arg2")?))]
        }
        "test_prompt_with_embedded_resource" => {
            let resource = json!({
                "uri": argument("resourceUri")?, "mimeType": "text/plain", "text": "Embedded resource content for testing.",
            });
            let embedded = json!({"role": "user", "content": {"type": "resource", "resource": resource}});
            vec![embedded, text("Please process the embedded resource above.")]
        }
        "test_prompt_with_image" => {
            let image = json!({"role": "user", "content": {"type": "image", "data": PNG, "mimeType": "image/png"}});
            vec![image, text("Please analyze the image above.")]
        }
        "test_input_required_result_prompt" => {
            let Some(context) = rounds::accepted(request.input_responses.as_ref(), "user_context", "context") else {
                let question = rounds::question("What context should the prompt use?", "context", "string");
                return Ok(rounds::required(&[("user_context", question)], None).into());
            };
            vec![text(&format!("Use this context: {context}"))]
        }
        other => return Err(ErrorData::invalid_params(format!("unknown prompt {other}"), None)),
    };
    Ok(read::<GetPromptResult>(json!({"resultType": "complete", "messages": messages})).into())
}

/// `resources/read`.
pub fn resource(uri: &str) -> Result<ReadResourceResponse, ErrorData> {
    let contents = match uri {
        "test://static-text" => {
            json!({"uri": uri, "mimeType": "text/plain", "text": "This is the content of the static text resource."})
        }
        "test://static-binary" => json!({"uri": uri, "mimeType": "image/png", "blob": PNG}),
        "test://watched-resource" => json!({"uri": uri, "mimeType": "text/plain", "text": "Watched, and calm."}),
        other => {
            from_template(other).ok_or_else(|| ErrorData::resource_not_found("Resource not found", Some(json!({"uri": uri}))))?
        }
    };
    Ok(read::<ReadResourceResult>(json!({"resultType": "complete", "contents": [contents]})).into())
}

fn from_template(uri: &str) -> Option<Value> {
    let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
    let text = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")}).to_string();
    Some(json!({"uri": uri, "mimeType": "application/json", "text": text}))
}

/// `completion/complete`: the known words that begin with what was typed.
pub fn completion(request: &CompleteRequestParams) -> CompleteResult {
    let typed = request.argument.value.as_str();
    let values: Vec<&str> = ["paris", "park", "party"].into_iter().filter(|word| word.starts_with(typed)).collect();
    let total = values.len();
    read(json!({"resultType": "complete", "completion": {"values": values, "total": total, "hasMore": false}}))
}
