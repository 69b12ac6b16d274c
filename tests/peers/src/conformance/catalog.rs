//! What the fixture offers: tools, prompts, resources, as they stand in the lists. Runs nothing, and never changes while the server runs.

use rmcp::model::{Prompt, Resource, ResourceTemplate, Tool};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A red pixel, as the smallest image.
pub const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg==";
/// A WAV header with no sample behind it.
pub const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

/// Every tool, in the order of the list.
pub fn tools() -> Vec<Tool> {
    let mut all = plain();
    all.extend(speaking());
    all.extend(asking());
    all.extend(working());
    all.push(dialect());
    all.into_iter().map(read).collect()
}

/// Every prompt.
pub fn prompts() -> Vec<Prompt> {
    let argument = |name: &str| json!({"name": name, "description": format!("The value of {name}"), "required": true});
    let prompt = |name: &str, description: &str, arguments: Vec<Value>| match arguments.is_empty() {
        true => json!({"name": name, "description": description}),
        false => json!({"name": name, "description": description, "arguments": arguments}),
    };
    let all = [
        prompt("test_simple_prompt", "One message of text", vec![]),
        prompt("test_prompt_with_arguments", "Repeats its two arguments", vec![argument("arg1"), argument("arg2")]),
        prompt("test_prompt_with_embedded_resource", "Embeds a resource", vec![argument("resourceUri")]),
        prompt("test_prompt_with_image", "Holds an image", vec![]),
        prompt("test_input_required_result_prompt", "Asks the user before it answers", vec![]),
    ];
    all.into_iter().map(read).collect()
}

/// Every resource that is not made from a template.
pub fn resources() -> Vec<Resource> {
    let all = [
        json!({"uri": "test://static-text", "name": "Static text", "description": "Text that never changes", "mimeType": "text/plain"}),
        json!({"uri": "test://static-binary", "name": "Static binary", "description": "An image", "mimeType": "image/png"}),
        json!({"uri": "test://watched-resource", "name": "Watched", "description": "One to subscribe to", "mimeType": "text/plain"}),
    ];
    all.into_iter().map(read).collect()
}

/// Every template.
pub fn templates() -> Vec<ResourceTemplate> {
    vec![read(json!({
        "uriTemplate": "test://template/{id}/data",
        "name": "Template",
        "description": "JSON that repeats its id",
        "mimeType": "application/json",
    }))]
}

/// A value of the SDK from its JSON. The JSON stands in this program, so a mistake in it ends the program at once.
pub fn read<T: DeserializeOwned>(value: Value) -> T {
    let shown = value.to_string();
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{shown}: {error}"))
}

fn tool(name: &str, description: &str, properties: Value, reads_only: bool) -> Value {
    let required: Vec<&str> = properties.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    let mut tool = json!({"name": name, "description": description, "inputSchema": schema});
    // The others stay without a hint, which the specification reads as "may destroy".
    if reads_only {
        tool["annotations"] = json!({"readOnlyHint": true});
    }
    tool
}

fn plain() -> Vec<Value> {
    vec![
        tool("test_simple_text", "Answers with text", json!({}), true),
        tool("test_image_content", "Answers with an image", json!({}), true),
        tool("test_audio_content", "Answers with a sound", json!({}), true),
        tool("test_embedded_resource", "Answers with a resource", json!({}), true),
        tool("test_multiple_content_types", "Answers with text, an image and a resource", json!({}), true),
        tool("test_error_handling", "Always fails", json!({}), true),
        tool("test_missing_capability", "Refuses a client that cannot sample", json!({}), false),
        json!({
            "name": "test_x_mcp_header",
            "description": "Repeats its region, which travels as a header too",
            "inputSchema": {
                "type": "object",
                "properties": {"region": {"type": "string", "description": "Where", "x-mcp-header": "Region"}},
                "required": ["region"],
            },
            "annotations": {"readOnlyHint": true},
        }),
        tool("greet", "Greets by name, at once", json!({"name": {"type": "string"}}), true),
    ]
}

fn speaking() -> Vec<Value> {
    vec![
        tool("test_tool_with_logging", "Logs three lines while it runs", json!({}), true),
        tool("test_logging_tool", "Logs if the request asks for it", json!({}), true),
        tool("test_tool_with_progress", "Reports progress in three steps", json!({}), true),
        tool("test_reconnection", "Answers after its stream was closed", json!({}), false),
        tool("test_trigger_tool_change", "Says that the list of tools changed", json!({}), false),
        tool("test_trigger_prompt_change", "Says that the list of prompts changed", json!({}), false),
    ]
}

fn asking() -> Vec<Value> {
    let mut all = vec![
        tool("test_sampling", "Asks the model of the client", json!({"prompt": {"type": "string"}}), false),
        tool("test_elicitation", "Asks the user of the client", json!({"message": {"type": "string"}}), false),
        tool("test_elicitation_sep1034_defaults", "Asks with defaults", json!({}), false),
        tool("test_elicitation_sep1330_enums", "Asks for choices", json!({}), false),
        tool("test_streaming_elicitation", "Asks on a stream", json!({}), false),
    ];
    let rounds = [
        "elicitation",
        "sampling",
        "list_roots",
        "request_state",
        "multiple_inputs",
        "multi_round",
        "tampered_state",
        "capabilities",
    ];
    all.extend(rounds.map(|round| tool(&format!("test_input_required_result_{round}"), "Asks in rounds", json!({}), false)));
    all
}

fn working() -> Vec<Value> {
    let mut slow = tool("slow_compute", "Takes its time, as a task if it may", json!({"seconds": {"type": "number"}}), false);
    slow["inputSchema"]["properties"]["label"] = json!({"type": "string"});
    vec![
        slow,
        tool("failing_job", "A task that fails as a tool does", json!({}), false),
        tool("protocol_error_job", "A task that fails as a protocol does", json!({}), false),
        tool("confirm_delete", "A task that asks once", json!({"filename": {"type": "string"}}), false),
        tool("multi_input", "A task that asks twice at a time", json!({}), false),
        tool("test_tool_with_task", "Asks in a round, then becomes a task", json!({}), false),
    ]
}

/// A schema with keywords that a proxy which knows draft 7 would lose.
fn dialect() -> Value {
    let text = json!({"type": "string"});
    json!({
        "name": "json_schema_2020_12_tool",
        "description": "Tool with JSON Schema 2020-12 features",
        "inputSchema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {"street": text, "city": text}}},
            "properties": {
                "name": text,
                "address": {"$ref": "#/$defs/address"},
                "contactMethod": {"type": "string", "enum": ["phone", "email"]},
                "phone": text,
                "email": text,
            },
            "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
            "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
            "then": {"required": ["phone"]},
            "else": {"required": ["email"]},
            "additionalProperties": false,
        },
        "annotations": {"readOnlyHint": true},
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn the_lists_are_what_the_sdk_reads() {
        let tools = super::tools();
        let names: HashSet<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        assert_eq!(names.len(), tools.len());
        assert_eq!((super::prompts().len(), super::resources().len(), super::templates().len()), (5, 3, 1));
    }
}
