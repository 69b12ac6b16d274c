//! The tools of the scripted upstream, as they stand in `tools/list`, and the answers that never change. Runs nothing.

/// `tools/list`, without the fields an era adds. `kitchen_sink` carries fields and numbers that a re-encoding would lose.
pub const TOOLS: &str = r#"[
{"name":"echo","title":"Echo","description":"Says the text again.","inputSchema":{"type":"object","properties":{"text":{"type":"string"}}},"annotations":{"readOnlyHint":true}},
{"name":"write_note","description":"Keeps a note.","inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]},"annotations":{"readOnlyHint":false,"destructiveHint":false}},
{"name":"wipe","description":"Forgets every note.","inputSchema":{"type":"object","properties":{"path":{"type":"string"}}},"annotations":{"readOnlyHint":false,"destructiveHint":true}},
{"name":"slow","description":"Takes `ms` milliseconds in `steps` steps; 0 steps answers as plain JSON.","inputSchema":{"type":"object","properties":{"ms":{"type":"integer","minimum":0},"steps":{"type":"integer","minimum":0},"text":{"type":"string"}}},"annotations":{"readOnlyHint":true}},
{"name":"slow_write","description":"The same, and it writes.","inputSchema":{"type":"object","properties":{"ms":{"type":"integer","minimum":0},"steps":{"type":"integer","minimum":0},"text":{"type":"string"}}},"annotations":{"readOnlyHint":false,"destructiveHint":false}},
{"name":"big","description":"Answers with `bytes` bytes.","inputSchema":{"type":"object","properties":{"bytes":{"type":"integer","minimum":0},"form":{"enum":["json","sse","events"]}}},"annotations":{"readOnlyHint":true}},
{"name":"kitchen_sink","title":"Kitchen sink","description":"Everything a result may hold, and more.","inputSchema":{"type":"object","additionalProperties":false,"x-order":[3,1,2]},"outputSchema":{"type":"object","properties":{"count":{"type":"integer"},"ratio":{"type":"number"}},"required":["count"]},"icons":[{"src":"data:image/png;base64,iVBORw0KGgo=","mimeType":"image/png","sizes":["16x16"]}],"_meta":{"example.org/shelf":{"row":123456789012345678901234567890123456789012345678901234567890}},"annotations":{"readOnlyHint":true,"x-weight":1.10},"futureField":{"b":1,"a":2}},
{"name":"fault","description":"Answers badly, in the way `mode` says.","inputSchema":{"type":"object","properties":{"mode":{"type":"string"}},"required":["mode"]},"annotations":{"readOnlyHint":true}},
{"name":"fault_write","description":"The same, after a write.","inputSchema":{"type":"object","properties":{"mode":{"type":"string"},"text":{"type":"string"}},"required":["mode"]},"annotations":{"readOnlyHint":false,"destructiveHint":false}},
{"name":"ask","description":"Asks the caller's user a question.","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}
]"#;

/// The members of the result of `kitchen_sink`; a proxy forwards each of these bytes.
pub const KITCHEN_SINK: &str = r#""content":[{"type":"text","text":"caf\u00e9 \ud83d\udea3 \/ end","annotations":{"audience":["user"],"priority":0.50},"zeta":null},{"type":"resource_link","uri":"note://1","name":"one","icons":[{"src":"data:,"}]}],"structuredContent":{"count":123456789012345678901234567890123456789012345678901234567890,"ratio":1.0E+2,"deep":[[[{"k":-0.0}]]]},"isError":false,"_meta":{"example.org/trace":"t-1","order":{"z":1,"a":2}},"unknownMember":{"keep":[1,2.50,3e0]}"#;

/// One text content and nothing else, as result members.
pub fn text_content(text: &str) -> String {
    format!(r#""content":[{{"type":"text","text":{}}}]"#, serde_json::Value::from(text))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    #[test]
    fn the_constants_are_json() {
        let tools: Vec<Value> = serde_json::from_str(super::TOOLS).unwrap();
        assert_eq!(tools.len(), 10);
        let sink: Value = serde_json::from_str(&format!("{{{}}}", super::KITCHEN_SINK)).unwrap();
        assert_eq!(sink["isError"], Value::Bool(false));
    }
}
