//! How large and how tangled a schema may be, so that holding a call against it stays short. Never compiles anything.

use std::collections::HashMap;

use serde_json::Value;

/// Levels of a schema, and of the arguments it is held against.
const DEEPEST: usize = 64;
/// Values of a schema, all in all.
const MOST: usize = 20_000;
/// Schemas that may follow one another for one and the same value.
const CHAIN: usize = 256;
/// Schemas that may apply along one path from the root of the arguments to a leaf.
const WORK: u64 = 100_000;

/// Refuses a schema that is too deep or too large, or that refers to itself in a way that multiplies with each level of the arguments.
pub(super) fn check(schema: &Value) -> Result<(), &'static str> {
    let mut left = MOST;
    measure(schema, DEEPEST, &mut left)?;
    let graph = Graph::of(schema);
    if graph.has_references { graph.work().map(drop) } else { Ok(()) }
}

fn measure(value: &Value, depth: usize, left: &mut usize) -> Result<(), &'static str> {
    let depth = depth.checked_sub(1).ok_or("it nests too deep")?;
    *left = left.checked_sub(1).ok_or("it is too large")?;
    match value {
        Value::Object(members) => members.values().try_for_each(|value| measure(value, depth, left)),
        Value::Array(items) => items.iter().try_for_each(|value| measure(value, depth, left)),
        _ => Ok(()),
    }
}

/// One subschema and what applies with it.
#[derive(Default)]
struct Node {
    /// To the same value.
    same: Vec<usize>,
    /// To members of the value, each to its own.
    own: Vec<usize>,
    /// To members of the value, any of them.
    any: Vec<usize>,
    /// References that are not followed yet.
    names: Vec<String>,
}

#[derive(Default)]
struct Graph {
    nodes: Vec<Node>,
    by_pointer: HashMap<String, usize>,
    has_references: bool,
}

impl Graph {
    fn of(schema: &Value) -> Self {
        let mut graph = Self::default();
        graph.add(schema, "#".to_owned());
        let names: Vec<Vec<String>> = graph.nodes.iter_mut().map(|node| std::mem::take(&mut node.names)).collect();
        for (at, names) in names.into_iter().enumerate() {
            graph.has_references |= !names.is_empty();
            // What is not found here lies outside, and the schema will not compile.
            let found: Vec<usize> = names.iter().filter_map(|name| graph.by_pointer.get(name).copied()).collect();
            if let Some(node) = graph.nodes.get_mut(at) {
                node.same.extend(found);
            }
        }
        graph
    }

    fn add(&mut self, schema: &Value, pointer: String) -> usize {
        let at = self.nodes.len();
        self.nodes.push(Node::default());
        let mut node = Node::default();
        if let Value::Object(members) = schema {
            for (key, value) in members {
                let below = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                match (key.as_str(), value) {
                    ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(name)) => node.names.push(name.clone()),
                    ("$anchor" | "$dynamicAnchor", Value::String(name)) => {
                        self.by_pointer.insert(format!("#{name}"), at);
                    }
                    ("allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else", value) => {
                        node.same.extend(self.parts(value, below, Value::is_array));
                    }
                    ("dependentSchemas" | "dependencies", value) => node.same.extend(self.parts(value, below, Value::is_object)),
                    ("properties", value) => node.own.extend(self.parts(value, below, Value::is_object)),
                    ("prefixItems", value) => node.own.extend(self.parts(value, below, Value::is_array)),
                    ("patternProperties", value) => node.any.extend(self.parts(value, below, Value::is_object)),
                    (
                        "items"
                        | "additionalItems"
                        | "unevaluatedItems"
                        | "contains"
                        | "additionalProperties"
                        | "unevaluatedProperties"
                        | "propertyNames",
                        value,
                    ) => node.any.extend(self.parts(value, below, Value::is_array)),
                    // Anything else may be the target of a reference.
                    (_, Value::Object(_) | Value::Array(_)) => drop(self.parts(value, below, |_| true)),
                    _ => {}
                }
            }
        }
        self.by_pointer.insert(pointer, at);
        if let Some(place) = self.nodes.get_mut(at) {
            *place = node;
        }
        at
    }

    /// The schemas in `value`, which is one itself unless it is a `container`.
    fn parts(&mut self, value: &Value, pointer: String, container: impl Fn(&Value) -> bool) -> Vec<usize> {
        match value {
            Value::Array(items) if container(value) => {
                items.iter().enumerate().map(|(n, item)| self.add(item, format!("{pointer}/{n}"))).collect()
            }
            Value::Object(members) if container(value) => members
                .iter()
                .map(|(key, item)| self.add(item, format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))))
                .collect(),
            other => vec![self.add(other, pointer)],
        }
    }

    /// How many schemas apply along the worst path of arguments as deep as any may be.
    fn work(&self) -> Result<u64, &'static str> {
        let mut below: HashMap<usize, u64> = HashMap::new();
        let mut last = 0;
        for _ in 0..DEEPEST {
            let mut here = HashMap::new();
            let work = self.at(0, CHAIN, &below, &mut here)?;
            for node in 0..self.nodes.len() {
                self.at(node, CHAIN, &below, &mut here)?;
            }
            if work > WORK {
                return Err("it refers to itself in a way that multiplies with each level");
            }
            if here == below {
                break;
            }
            (below, last) = (here, work);
        }
        Ok(last)
    }

    fn at(
        &self,
        node: usize,
        chain: usize,
        below: &HashMap<usize, u64>,
        here: &mut HashMap<usize, u64>,
    ) -> Result<u64, &'static str> {
        if let Some(known) = here.get(&node) {
            return Ok(*known);
        }
        let chain = chain.checked_sub(1).ok_or("it refers to itself without end")?;
        let Some(parts) = self.nodes.get(node) else { return Ok(0) };
        let deeper = |at: &usize| below.get(at).copied().unwrap_or(1);
        let mut work: u64 = 1;
        for part in &parts.same {
            work = work.saturating_add(self.at(*part, chain, below, here)?);
        }
        work = parts.any.iter().fold(work, |sum, part| sum.saturating_add(deeper(part)));
        work = work.saturating_add(parts.own.iter().map(deeper).max().unwrap_or(0));
        here.insert(node, work);
        Ok(work)
    }
}
