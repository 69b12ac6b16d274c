//! How large and how tangled a schema may be, so that holding a call against it stays short. Never compiles anything.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value};

/// Levels of a schema, and of the arguments it is held against.
const DEEPEST: usize = 64;
/// Values of a schema, all in all.
const MOST: u64 = 20_000;
/// Bytes of all its JSON pointers together, and about how many of them a place in an array takes.
const PLACES: usize = 8 << 20;
const NUMBER: usize = 6;
/// Schemas that may follow one another for one and the same value.
const CHAIN: usize = 256;
/// Schemas that may apply along one path from the root of the arguments to a leaf.
const WORK: u64 = 100_000;

/// What holding one value of the arguments against a schema may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weight {
    /// Comparisons, at most.
    pub work: u64,
    /// Patterns in it.
    pub patterns: usize,
}

/// Refuses a schema that is too deep or too large, that refers to what cannot be found in it, or that refers to itself in a way that
/// multiplies with each level of the arguments.
pub(super) fn check(schema: &Value) -> Result<Weight, &'static str> {
    let mut size = Size::default();
    size.add(schema, DEEPEST, 0)?;
    Ok(Weight { work: Graph::of(schema).work()?.max(size.values), patterns: size.patterns })
}

#[derive(Default)]
struct Size {
    values: u64,
    /// Bytes of the places of all values, which a compiled schema keeps.
    places: usize,
    patterns: usize,
}

impl Size {
    fn add(&mut self, value: &Value, depth: usize, place: usize) -> Result<(), &'static str> {
        let depth = depth.checked_sub(1).ok_or("it nests too deep")?;
        self.values += 1;
        self.places = self.places.saturating_add(place);
        if self.values > MOST || self.places > PLACES {
            return Err("it is too large");
        }
        match value {
            Value::Object(members) => members.iter().try_for_each(|(key, value)| {
                self.patterns += match (key.as_str(), value) {
                    ("pattern", Value::String(_)) => 1,
                    ("patternProperties", Value::Object(named)) => named.len(),
                    _ => 0,
                };
                self.add(value, depth, place + key.len() + 1)
            }),
            Value::Array(items) => items.iter().try_for_each(|value| self.add(value, depth, place + NUMBER)),
            _ => Ok(()),
        }
    }
}

/// One object of a schema and what applies with it, where it is a schema itself.
#[derive(Default)]
struct Node {
    /// To the same value.
    same: Vec<usize>,
    /// To members of the value, each to its own.
    own: Vec<usize>,
    /// To members of the value, any of them.
    any: Vec<usize>,
    /// It refers to something.
    refers: bool,
    /// To something that is not found.
    lost: bool,
    /// What applies to the same value is looked at once more for what it leaves over.
    twice: bool,
}

/// Every object of a schema, by the address of its value: a reference may name any of them.
struct Graph<'a> {
    root: &'a Value,
    nodes: Vec<Node>,
    places: HashMap<usize, usize>,
    anchors: HashMap<&'a str, Vec<usize>>,
    /// References below some object start from elsewhere than the root.
    is_rebased: bool,
}

impl<'a> Graph<'a> {
    fn of(schema: &'a Value) -> Self {
        let mut graph =
            Self { root: schema, nodes: Vec::new(), places: HashMap::new(), anchors: HashMap::new(), is_rebased: false };
        let mut objects = Vec::new();
        graph.add(schema, &mut objects);
        graph.nodes = objects.into_iter().map(|members| graph.node(members)).collect();
        graph
    }

    fn add(&mut self, value: &'a Value, objects: &mut Vec<&'a Map<String, Value>>) {
        match value {
            Value::Object(members) => {
                let at = objects.len();
                self.places.insert(address(value), at);
                for name in ["$anchor", "$dynamicAnchor"].into_iter().filter_map(|key| members.get(key)?.as_str()) {
                    self.anchors.entry(name).or_default().push(at);
                }
                self.is_rebased |= at > 0 && self.rebases(members);
                objects.push(members);
                members.values().for_each(|value| self.add(value, objects));
            }
            Value::Array(items) => items.iter().for_each(|value| self.add(value, objects)),
            _ => {}
        }
    }

    // Draft 4 says `id`, which elsewhere is a word like any other.
    fn rebases(&self, members: &Map<String, Value>) -> bool {
        let is_text = |key: &str| members.get(key).is_some_and(Value::is_string);
        let old = || self.root.get("$schema").and_then(Value::as_str).is_some_and(|draft| draft.contains("draft-04"));
        is_text("$id") || is_text("$schema") || (is_text("id") && old())
    }

    fn node(&self, members: &Map<String, Value>) -> Node {
        let mut node = Node::default();
        for (key, value) in members {
            match (key.as_str(), value) {
                ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(name)) => {
                    node.refers = true;
                    match self.named(name) {
                        Some(found) => node.same.extend(found),
                        None => node.lost = true,
                    }
                }
                ("allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else", value) => {
                    node.same.extend(self.parts(value, Value::is_array));
                }
                ("dependentSchemas" | "dependencies", value) => node.same.extend(self.parts(value, Value::is_object)),
                ("properties", value) => node.own.extend(self.parts(value, Value::is_object)),
                ("prefixItems", value) => node.own.extend(self.parts(value, Value::is_array)),
                ("patternProperties", value) => node.any.extend(self.parts(value, Value::is_object)),
                ("unevaluatedItems" | "unevaluatedProperties", value) => {
                    node.twice = true;
                    node.any.extend(self.parts(value, Value::is_array));
                }
                ("items" | "additionalItems" | "contains" | "additionalProperties" | "propertyNames", value) => {
                    node.any.extend(self.parts(value, Value::is_array));
                }
                _ => {}
            }
        }
        node
    }

    /// The schemas in `value`, which is one itself unless it is a `container`. True and false are schemas that cost nothing.
    fn parts(&self, value: &Value, container: impl Fn(&Value) -> bool) -> Vec<usize> {
        let place = |value: &Value| self.places.get(&address(value)).copied();
        match value {
            Value::Array(items) if container(value) => items.iter().filter_map(place).collect(),
            Value::Object(members) if container(value) => members.values().filter_map(place).collect(),
            other => place(other).into_iter().collect(),
        }
    }

    /// What a reference names: a place in this very schema, or an anchor.
    fn named(&self, name: &str) -> Option<Vec<usize>> {
        let fragment = decoded(name.strip_prefix('#')?)?;
        if !fragment.is_empty() && !fragment.starts_with('/') {
            return self.anchors.get(fragment.as_ref()).cloned();
        }
        match self.root.pointer(&fragment)? {
            Value::Bool(_) => Some(Vec::new()),
            found => self.places.get(&address(found)).map(|place| vec![*place]),
        }
    }

    /// What a call can be held against.
    fn reached(&self) -> Result<Vec<usize>, &'static str> {
        let mut seen = vec![false; self.nodes.len()];
        let mut waiting = if self.nodes.is_empty() { Vec::new() } else { vec![0] };
        let mut all = Vec::new();
        while let Some(at) = waiting.pop() {
            let Some(node) = self.nodes.get(at) else { continue };
            match seen.get_mut(at) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            if node.lost {
                return Err("it refers to something that is not found in it");
            }
            if node.refers && self.is_rebased {
                return Err("it refers to something, and a part of it has an identifier of its own");
            }
            all.push(at);
            waiting.extend(node.same.iter().chain(&node.own).chain(&node.any));
        }
        Ok(all)
    }

    /// How many schemas apply along the worst path of arguments as deep as any may be.
    fn work(&self) -> Result<u64, &'static str> {
        let reached = self.reached()?;
        let (mut below, mut last) = (vec![None; self.nodes.len()], 0);
        for _ in 0..DEEPEST {
            let mut here = vec![None; self.nodes.len()];
            for node in &reached {
                self.at(*node, CHAIN, &below, &mut here)?;
            }
            let work = here.first().copied().flatten().unwrap_or(0);
            if work > WORK {
                return Err("it refers to itself, or nests, in a way that multiplies with each level");
            }
            if here == below {
                break;
            }
            (below, last) = (here, work);
        }
        Ok(last)
    }

    fn at(&self, node: usize, chain: usize, below: &[Option<u64>], here: &mut [Option<u64>]) -> Result<u64, &'static str> {
        if let Some(known) = here.get(node).copied().flatten() {
            return Ok(known);
        }
        let chain = chain.checked_sub(1).ok_or("it refers to itself without end")?;
        let Some(parts) = self.nodes.get(node) else { return Ok(0) };
        let deeper = |at: &usize| below.get(*at).copied().flatten().unwrap_or(1);
        let mut work: u64 = 1;
        for part in &parts.same {
            work = work.saturating_add(self.at(*part, chain, below, here)?);
        }
        if parts.twice {
            work = work.saturating_mul(2);
        }
        work = parts.any.iter().fold(work, |sum, part| sum.saturating_add(deeper(part)));
        work = work.saturating_add(parts.own.iter().map(deeper).max().unwrap_or(0));
        if let Some(place) = here.get_mut(node) {
            *place = Some(work);
        }
        Ok(work)
    }
}

/// A fragment without its `%XX` (RFC 6901, section 6).
fn decoded(fragment: &str) -> Option<Cow<'_, str>> {
    if !fragment.contains('%') {
        return Some(fragment.into());
    }
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        let code = code.filter(|code| code.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn address(value: &Value) -> usize {
    std::ptr::from_ref(value) as usize
}
