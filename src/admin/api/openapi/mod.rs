//! What the API says of itself: one description a route, made of the types it takes and answers with, and the OpenAPI 3.1 document of all of
//! them. Never describes what is not served: a route is added together with its description.

pub(super) mod routes;
#[cfg(test)]
mod tests;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::super::actor::Right;

type Shape = fn(&mut SchemaGenerator) -> Schema;

/// One route, described.
#[derive(Clone)]
pub(super) struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    right: Right,
    query: Option<Shape>,
    takes: Option<Shape>,
    example: Value,
    answers: Shape,
    lines: bool,
    person: bool,
}

/// A route that reads and answers with a `T`.
pub(super) fn reads<T: JsonSchema>(path: &'static str, summary: &'static str) -> Operation {
    Operation {
        method: "get",
        path,
        summary,
        right: Right::Read,
        query: None,
        takes: None,
        example: Value::Null,
        answers: |generator| generator.subschema_for::<T>(),
        lines: false,
        person: false,
    }
}

/// A route that changes something and answers with a `T`.
pub(super) fn changes<T: JsonSchema>(path: &'static str, summary: &'static str, right: Right) -> Operation {
    Operation { method: "post", right, ..reads::<T>(path, summary) }
}

#[cfg(test)]
impl Operation {
    pub(super) fn row(&self) -> (String, String, bool, String) {
        let example = if self.example.is_null() { String::new() } else { self.example.to_string() };
        (self.method.to_uppercase(), format!("/api/v1{}", self.path), self.person, example)
    }
}

impl Operation {
    /// The fields of its query.
    pub(super) fn query<Q: JsonSchema>(self) -> Self {
        Self { query: Some(|generator| generator.subschema_for::<Q>()), ..self }
    }

    /// The document it takes, and one such document.
    pub(super) fn takes<B: JsonSchema>(self, example: Value) -> Self {
        Self { takes: Some(|generator| generator.subschema_for::<B>()), example, ..self }
    }

    /// It reads, but not for every role.
    pub(super) fn needs(self, right: Right) -> Self {
        Self { right, ..self }
    }

    /// No API key may it, whatever its role: the verb asks for a person (`Actor::need_person`).
    pub(super) fn person(self) -> Self {
        Self { person: true, ..self }
    }

    /// It answers with one document a line.
    pub(super) fn lines(self) -> Self {
        Self { lines: true, ..self }
    }
}

const ROLES: &str = "Operators have a role: viewer reads; auditor also exports; operator also stops, revokes and looks at servers; admin does everything.";

/// The document of all routes.
pub(super) fn document(operations: &[Operation]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut answers = settings.clone().for_serialize().into_generator();
    // What is taken stands where it is taken: the same type may ask for less than it answers with.
    let mut taken = settings.with(|settings| settings.inline_subschemas = true).into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations {
        let described = describe(operation, &mut answers, &mut taken);
        let path = paths.entry(format!("/api/v1{}", operation.path)).or_insert_with(|| json!({}));
        path[operation.method] = described;
    }
    let mut schemas = answers.take_definitions(true);
    schemas.insert("Fault".to_owned(), fault());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Lifeboat",
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!("The verbs of the commands, with the same documents. {ROLES} The control socket serves the same paths to the local account."),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"operatorKey": []}],
        "tags": tags(operations),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "Fault": {"description": "What is wrong, where, and its kind", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Fault"}}}},
            },
            "securitySchemes": {"operatorKey": {
                "type": "http", "scheme": "bearer", "bearerFormat": "lbo_…",
                "description": "An operator API key: lifeboat operator key add NAME. A cookie is never taken.",
            }},
        },
    })
}

fn tags(operations: &[Operation]) -> Value {
    let mut names: Vec<&str> = operations.iter().map(tag).collect();
    names.sort_unstable();
    names.dedup();
    names.iter().map(|name| json!({ "name": name })).collect()
}

// The noun that the path begins with.
fn tag(operation: &Operation) -> &str {
    operation.path.trim_start_matches('/').split('/').next().unwrap_or_default()
}

fn describe(operation: &Operation, answers: &mut SchemaGenerator, taken: &mut SchemaGenerator) -> Value {
    let role = match operation.right {
        Right::Read => "viewer",
        Right::Export => "auditor",
        Right::Operate => "operator",
        Right::Administer => "admin",
    };
    let media = if operation.lines { "application/x-ndjson" } else { "application/json" };
    let schema = (operation.answers)(answers);
    let parameters: Vec<Value> = names(operation.path).chain(fields(operation, taken)).collect();
    let mut described = json!({
        "operationId": id(operation),
        "summary": operation.summary,
        "description": format!("Needs role {role}.{}", if operation.person { " No API key may do it: the control socket only." } else { "" }),
        "x-lifeboat-role": role,
        "x-lifeboat-person": operation.person,
        "tags": [tag(operation)],
        "parameters": parameters,
        "responses": responses(operation, json!({ media: { "schema": schema } })),
    });
    if let Some(shape) = operation.takes {
        described["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": shape(taken), "example": operation.example}},
        });
    }
    described
}

fn id(operation: &Operation) -> String {
    let words = operation.path.split(['/', '-']).filter(|word| !word.is_empty());
    let plain = words.map(|word| word.trim_matches(['{', '}']).to_owned());
    std::iter::once(operation.method.to_owned()).chain(plain).collect::<Vec<_>>().join("_")
}

fn names(path: &'static str) -> impl Iterator<Item = Value> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(|name| {
        json!({"name": name, "in": "path", "required": true, "description": "Its name, percent-encoded", "schema": {"type": "string"}})
    })
}

fn fields(operation: &Operation, taken: &mut SchemaGenerator) -> Vec<Value> {
    let Some(shape) = operation.query else { return Vec::new() };
    let schema = shape(taken);
    let required = schema.get("required").cloned().unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let field = |(name, mut schema): (String, Value)| {
        let description = schema.as_object_mut().and_then(|fields| fields.remove("description")).unwrap_or_default();
        let needed = required.as_array().is_some_and(|names| names.iter().any(|needed| needed == name.as_str()));
        // A query has no null: a field that may be null is one that may be left out.
        if let Some(fields) = schema.as_object_mut().filter(|fields| fields.get("default") == Some(&Value::Null)) {
            fields.remove("default");
        }
        if let Some(Value::Array(kinds)) = schema.get_mut("type") {
            kinds.retain(|kind| kind != "null");
            if let [one] = kinds.as_slice() {
                schema["type"] = one.clone();
            }
        }
        json!({"name": name, "in": "query", "required": needed, "description": description, "schema": schema})
    };
    properties.into_iter().map(field).collect()
}

fn responses(operation: &Operation, content: Value) -> Value {
    let fault = json!({"$ref": "#/components/responses/Fault"});
    let mut all = json!({
        "200": {"description": "Done", "content": content},
        "401": {"description": "No operator API key, or one that does not count"},
        "403": fault,
        "503": fault,
        "default": fault,
    });
    if operation.takes.is_some() || operation.query.is_some() {
        all["400"] = fault.clone();
        all["413"] = json!({"description": "The body is too large"});
    }
    if operation.path.contains('{') || operation.takes.is_some() {
        all["404"] = fault.clone();
    }
    if operation.method == "post" {
        all["409"] = fault;
    }
    all
}

fn fault() -> Value {
    json!({
        "type": "object",
        "description": "What every refused or failed request answers with.",
        "required": ["error"],
        "properties": {"error": {
            "type": "object",
            "required": ["kind", "message", "where"],
            "properties": {
                "kind": {"description": "What to branch on.", "enum": ["not_found", "invalid", "conflict", "denied", "unavailable", "bug"]},
                "message": {"type": "string", "description": "One sentence for people."},
                "where": {"type": ["string", "null"], "description": "The field, file and line, or JSON pointer that is wrong."},
            },
        }},
    })
}
