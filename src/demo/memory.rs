//! The memory: entities with observations, relations between them, notes. A JSON-lines file, one item a line, rewritten whole
//! beside itself and renamed, so that a copy taken at any moment is whole. Never keeps what it could not write.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A thing that is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entity {
    pub(super) name: String,
    pub(super) entity_type: String,
    pub(super) observations: Vec<String>,
}

/// How two things belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Relation {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) relation_type: String,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Item {
    Entity(Entity),
    Relation(Relation),
    Note { text: String },
}

/// Everything that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Graph {
    pub(super) entities: Vec<Entity>,
    pub(super) relations: Vec<Relation>,
    pub(super) notes: Vec<String>,
}

impl Graph {
    /// The entities that `keep` picks, the relations between them, and the notes that `note` picks.
    pub(super) fn part(&self, keep: impl Fn(&Entity) -> bool, note: impl Fn(&str) -> bool) -> Self {
        let entities: Vec<Entity> = self.entities.iter().filter(|entity| keep(entity)).cloned().collect();
        let has = |name: &str| entities.iter().any(|entity| entity.name == name);
        let relations = self.relations.iter().filter(|one| has(&one.from) && has(&one.to)).cloned().collect();
        Self { relations, notes: self.notes.iter().filter(|text| note(text)).cloned().collect(), entities }
    }
}

/// The memory and its file.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    graph: Graph,
}

impl Memory {
    /// Reads the file; one that does not exist is an empty memory.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => String::new(),
            Err(fault) => return Err(fault),
        };
        let mut graph = Graph::default();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let told =
                |fault: serde_json::Error| io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {fault}", index + 1));
            match serde_json::from_str(line).map_err(told)? {
                Item::Entity(entity) => graph.entities.push(entity),
                Item::Relation(relation) => graph.relations.push(relation),
                Item::Note { text } => graph.notes.push(text),
            }
        }
        Ok(Self { path, graph })
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Changes the memory and writes it; what cannot be written is not remembered.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut Graph) -> T) -> io::Result<T> {
        let mut graph = self.graph.clone();
        let result = change(&mut graph);
        if graph != self.graph {
            write(&self.path, &graph)?;
            self.graph = graph;
        }
        Ok(result)
    }
}

fn write(path: &Path, graph: &Graph) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = folder.join(format!(".memory.{}.tmp", std::process::id()));
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let mut out = BufWriter::new(file);
    let items = graph.entities.iter().cloned().map(Item::Entity);
    let items = items.chain(graph.relations.iter().cloned().map(Item::Relation));
    for item in items.chain(graph.notes.iter().map(|text| Item::Note { text: text.clone() })) {
        serde_json::to_writer(&mut out, &item)?;
        out.write_all(b"\n")?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    std::fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}
