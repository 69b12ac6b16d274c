//! The tools: their definitions, and what each does. A tool never panics on its arguments; what is wrong with them goes back as
//! a tool error.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::memory::{Entity, Graph, Memory, Relation};

/// The one tool that takes time; it is run by `calls`.
pub(super) const SLOW: &str = "slow_count";

/// Every tool, in the order it is listed.
pub(super) fn definitions() -> Vec<Value> {
    let strings = json!({"type": "array", "items": {"type": "string"}});
    let entity = object(
        &json!({"name": {"type": "string"}, "entityType": {"type": "string"}, "observations": strings}),
        &["name", "entityType", "observations"],
    );
    let text = json!({"type": "string"});
    let relation = object(&json!({"from": text, "to": text, "relationType": text}), &["from", "to", "relationType"]);
    let entities = json!({"entities": {"type": "array", "items": entity}});
    let relations = json!({"relations": {"type": "array", "items": relation}});
    let names = json!({"names": strings});
    let graph = object(
        &json!({"entities": entities["entities"], "relations": relations["relations"], "notes": strings}),
        &["entities", "relations", "notes"],
    );
    let count = |name: &str| object(&json!({name: {"type": "integer", "minimum": 0}}), &[name]);
    let slow = json!({
        "seconds": {"type": "number", "minimum": 0, "maximum": 600, "default": 3},
        "steps": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 3},
    });
    let none = object(&json!({}), &[]);
    let query = json!({"query": {"type": "string", "minLength": 1}});
    let note = json!({"text": {"type": "string", "minLength": 1, "maxLength": 10_000}});
    vec![
        read("read_graph", "Reads the whole memory.", &none, &graph),
        read("search_nodes", "Finds entities and notes that contain a text.", &object(&query, &["query"]), &graph),
        read("open_nodes", "Reads the named entities and the relations between them.", &object(&names, &["names"]), &graph),
        write("create_entities", "Remembers new entities.", &object(&entities, &["entities"]), &count("created")),
        write("create_relations", "Remembers new relations.", &object(&relations, &["relations"]), &count("created")),
        write("add_note", "Remembers a note.", &object(&note, &["text"]), &count("notes")),
        destroy("delete_entities", "Forgets entities and their relations.", &object(&names, &["names"]), &count("deleted")),
        destroy("wipe", "Forgets everything.", &none, &count("deleted")),
        read(SLOW, "Counts slowly and tells its progress.", &object(&slow, &[]), &count("counted")),
    ]
}

fn object(properties: &Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn tool(name: &str, about: &str, schemas: (&Value, &Value), annotations: &Value) -> Value {
    json!({"name": name, "description": about, "inputSchema": schemas.0, "outputSchema": schemas.1, "annotations": annotations})
}

fn read(name: &str, about: &str, input: &Value, output: &Value) -> Value {
    tool(name, about, (input, output), &json!({"readOnlyHint": true, "openWorldHint": false}))
}

fn write(name: &str, about: &str, input: &Value, output: &Value) -> Value {
    let annotations = json!({"readOnlyHint": false, "destructiveHint": false, "idempotentHint": false, "openWorldHint": false});
    tool(name, about, (input, output), &annotations)
}

fn destroy(name: &str, about: &str, input: &Value, output: &Value) -> Value {
    let annotations = json!({"readOnlyHint": false, "destructiveHint": true, "idempotentHint": true, "openWorldHint": false});
    tool(name, about, (input, output), &annotations)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    query: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entities {
    entities: Vec<Entity>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Relations {
    relations: Vec<Relation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    text: String,
}

/// What the slow tool is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Slow {
    pub(super) seconds: f64,
    pub(super) steps: u32,
}

impl Default for Slow {
    fn default() -> Self {
        Self { seconds: 3.0, steps: 3 }
    }
}

impl Slow {
    /// Its arguments, checked.
    pub(super) fn from(arguments: &Value) -> Result<Self, String> {
        let slow: Self = typed(arguments)?;
        let fits = (0.0..=600.0).contains(&slow.seconds) && (1..=1000).contains(&slow.steps);
        fits.then_some(slow).ok_or_else(|| "seconds is 0 to 600, steps 1 to 1000".to_owned())
    }
}

fn typed<T: DeserializeOwned>(arguments: &Value) -> Result<T, String> {
    T::deserialize(arguments).map_err(|fault| format!("invalid arguments: {fault}"))
}

/// Whether there is such a tool.
pub(super) fn exists(name: &str) -> bool {
    definitions().iter().any(|tool| tool["name"] == name)
}

/// Does what the tool is for and gives its structured result.
///
/// # Errors
/// A sentence for the caller: wrong arguments, or the memory cannot be written.
pub(super) fn perform(memory: &mut Memory, name: &str, arguments: &Value) -> Result<Value, String> {
    let told = |fault: std::io::Error| format!("the memory cannot be written: {}", fault.kind());
    match name {
        "read_graph" => {
            typed::<Nothing>(arguments)?;
            Ok(json!(memory.graph()))
        }
        "search_nodes" => {
            let Query { query } = typed(arguments)?;
            Ok(json!(search(memory.graph(), &query)))
        }
        "open_nodes" => {
            let Names { names } = typed(arguments)?;
            Ok(json!(memory.graph().part(|entity| names.contains(&entity.name), |_| false)))
        }
        "create_entities" => {
            let Entities { entities } = typed(arguments)?;
            memory.change(|graph| create_entities(graph, entities)).map(|n| json!({"created": n})).map_err(told)
        }
        "create_relations" => {
            let Relations { relations } = typed(arguments)?;
            memory.change(|graph| create_relations(graph, relations)).map(|n| json!({"created": n})).map_err(told)
        }
        "add_note" => {
            let Note { text } = typed(arguments)?;
            let add = |graph: &mut Graph| {
                graph.notes.push(text);
                graph.notes.len()
            };
            memory.change(add).map(|n| json!({"notes": n})).map_err(told)
        }
        "delete_entities" => {
            let Names { names } = typed(arguments)?;
            memory.change(|graph| delete(graph, &names)).map(|n| json!({"deleted": n})).map_err(told)
        }
        "wipe" => {
            typed::<Nothing>(arguments)?;
            memory.change(wipe).map(|n| json!({"deleted": n})).map_err(told)
        }
        _ => Err(format!("there is no tool {name}")),
    }
}

fn search(graph: &Graph, query: &str) -> Graph {
    let query = query.to_lowercase();
    let has = |text: &str| text.to_lowercase().contains(&query);
    graph.part(|entity| has(&entity.name) || has(&entity.entity_type) || entity.observations.iter().any(|one| has(one)), has)
}

fn create_entities(graph: &mut Graph, entities: Vec<Entity>) -> usize {
    let before = graph.entities.len();
    for entity in entities {
        if !graph.entities.iter().any(|known| known.name == entity.name) {
            graph.entities.push(entity);
        }
    }
    graph.entities.len() - before
}

fn create_relations(graph: &mut Graph, relations: Vec<Relation>) -> usize {
    let before = graph.relations.len();
    for relation in relations {
        if !graph.relations.contains(&relation) {
            graph.relations.push(relation);
        }
    }
    graph.relations.len() - before
}

fn delete(graph: &mut Graph, names: &[String]) -> usize {
    let before = graph.entities.len();
    graph.entities.retain(|entity| !names.contains(&entity.name));
    graph.relations.retain(|relation| !names.contains(&relation.from) && !names.contains(&relation.to));
    before - graph.entities.len()
}

fn wipe(graph: &mut Graph) -> usize {
    let Graph { entities, relations, notes } = std::mem::take(graph);
    entities.len() + relations.len() + notes.len()
}
