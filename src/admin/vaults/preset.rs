//! Where servers that many use keep their memory, as their packages say: npm `@modelcontextprotocol/server-memory`, PyPI `mcp-memory-service`,
//! PyPI `basic-memory`, npm `mcp-memory-keeper`. What cannot be told is asked for, never guessed. Pure: what it may look at is given to it.

use std::path::{Path, PathBuf};

use crate::base::fault::{Fault, Verb};

/// A server whose kind is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preset {
    ServerMemory,
    McpMemoryService,
    BasicMemory,
    MemoryKeeper,
}

impl Preset {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::ServerMemory, Self::McpMemoryService, Self::BasicMemory, Self::MemoryKeeper];

    /// The word in orders.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::ServerMemory => "server-memory",
            Self::McpMemoryService => "mcp-memory-service",
            Self::BasicMemory => "basic-memory",
            Self::MemoryKeeper => "memory-keeper",
        }
    }

    /// Reads what `word` wrote.
    ///
    /// # Errors
    /// `Invalid`, naming all of them.
    pub(super) fn from_word(word: &str) -> Verb<Self> {
        Self::ALL.into_iter().find(|preset| preset.word() == word).ok_or_else(|| {
            let all = Self::ALL.map(Self::word).join(", ");
            Fault::invalid("preset", format!("there is no preset {word}; known are {all}"))
        })
    }

    /// What it leaves out of the directory that it keeps its memory in: caches, and copies of its own.
    fn leaves_out(self) -> &'static [&'static str] {
        match self {
            Self::McpMemoryService => &["backups"],
            Self::BasicMemory => &["fastembed_cache"],
            Self::ServerMemory | Self::MemoryKeeper => &[],
        }
    }

    /// What of it stands in a server's own folder and is no memory.
    fn leaves_out_at_home(self) -> &'static [&'static str] {
        match self {
            Self::McpMemoryService => &[".local/share/mcp-memory/backups"],
            Self::BasicMemory => &[".basic-memory/fastembed_cache"],
            Self::ServerMemory | Self::MemoryKeeper => &[],
        }
    }

    /// The file by which the place is known.
    fn file(self) -> &'static str {
        match self {
            Self::ServerMemory => "memory.jsonl",
            Self::McpMemoryService => "sqlite_vec.db",
            Self::BasicMemory => "memory.db",
            Self::MemoryKeeper => "context.db",
        }
    }
}

/// What may be looked at.
pub(super) struct Around<'a> {
    /// Name of the vault.
    pub vault: &'a str,
    /// Name of the server.
    pub server: &'a str,
    /// The server's own folder, which is its home too.
    pub own: &'a Path,
    /// Its command line; none for a remote server.
    pub command: Option<&'a [String]>,
    /// Directories it may use.
    pub dirs: &'a [String],
    /// The value of one of its variables.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Whether something is there.
    pub exists: &'a dyn Fn(&Path) -> bool,
    /// What was given instead.
    pub given: Option<&'a Path>,
}

/// What a preset becomes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// What is protected.
    pub path: PathBuf,
    /// Paths inside that are left out.
    pub exclude: Vec<String>,
    /// What was filled in, and from where.
    pub notes: Vec<String>,
}

/// A server's own folder holds this for a moment, or can fetch it again.
const AT_HOME: [&str; 3] = [".cache", ".npm", "tmp"];

/// Where a place was found, and why it is the one.
struct Place {
    path: PathBuf,
    why: String,
    more: Option<String>,
}

impl Place {
    fn new(path: impl Into<PathBuf>, why: impl Into<String>) -> Self {
        Self { path: path.into(), why: why.into(), more: None }
    }
}

/// Tells where a server keeps its memory.
///
/// # Errors
/// `Invalid` at `path` when it cannot be told; at `name` when the server's own folder has it, which is a vault already.
pub(super) fn find(preset: Preset, around: &Around<'_>) -> Verb<Found> {
    let place = match (around.given, around.command) {
        (Some(given), _) => Place::new(given, "as given"),
        (None, None) => return Err(ask(around, "it is remote. Give the place, or back up what it keeps by a command")),
        (None, Some(command)) => match preset {
            Preset::ServerMemory => server_memory(around, command)?,
            Preset::McpMemoryService => memory_service(around)?,
            Preset::BasicMemory => basic_memory(around)?,
            Preset::MemoryKeeper => memory_keeper(around)?,
        },
    };
    if !place.path.is_absolute() {
        return Err(ask(around, &format!("{} is no absolute path", place.path.display())));
    }
    if place.path.starts_with(around.own) {
        return at_home(preset, around, &place);
    }
    let is_directory = place.path.file_name().is_none_or(|name| name != preset.file()) && place.path.extension().is_none();
    let exclude: Vec<String> = match is_directory {
        true => preset.leaves_out().iter().map(|path| (*path).to_owned()).collect(),
        false => Vec::new(),
    };
    Ok(told(place, exclude))
}

/// The own folder of a server is a vault as a whole: two vaults, one in the other, could not both be brought back.
fn at_home(preset: Preset, around: &Around<'_>, place: &Place) -> Verb<Found> {
    let Around { vault, server, .. } = around;
    if vault != server {
        let message = format!(
            "{} lies in the own folder of {server}, which is the vault {server} already; call this one {server} to leave out its caches",
            place.path.display()
        );
        return Err(Fault::invalid("name", message));
    }
    let exclude = AT_HOME.iter().chain(preset.leaves_out_at_home()).map(|path| (*path).to_owned()).collect();
    let why = format!("{} lies in it ({})", place.path.display(), place.why);
    Ok(told(Place::new(around.own, why), exclude))
}

fn told(place: Place, exclude: Vec<String>) -> Found {
    let mut notes = vec![format!("path is {}: {}", place.path.display(), place.why)];
    if !exclude.is_empty() {
        notes.push(format!("exclude is {}", exclude.join(", ")));
    }
    notes.extend(place.more);
    Found { path: place.path, exclude, notes }
}

fn ask(around: &Around<'_>, why: &str) -> Fault {
    Fault::invalid("path", format!("where {} keeps its memory cannot be told: {why} (--path)", around.server))
}

/// The place that one of the variables names.
fn named(around: &Around<'_>, variables: &[&str]) -> Option<Place> {
    let found = variables.iter().find_map(|name| Some((name, (around.variable)(name)?)));
    found.map(|(name, value)| Place::new(value, format!("{name} of {} says so", around.server)))
}

fn home(around: &Around<'_>) -> PathBuf {
    (around.variable)("HOME").map_or_else(|| around.own.to_owned(), PathBuf::from)
}

/// A directory that the server may use and that holds the file.
fn used(preset: Preset, around: &Around<'_>) -> Option<Place> {
    let holds = |dir: &&String| (around.exists)(&Path::new(dir.as_str()).join(preset.file()));
    around
        .dirs
        .iter()
        .find(holds)
        .map(|dir| Place::new(dir, format!("{} is in it, and {} may use it", preset.file(), around.server)))
}

/// One file of lines, beside the program unless `MEMORY_FILE_PATH` names it. A relative one is relative to the program.
fn server_memory(around: &Around<'_>, command: &[String]) -> Verb<Place> {
    let program = command.iter().map(Path::new).find(|word| word.is_absolute() && word.ends_with("dist/index.js"));
    let beside = program.and_then(Path::parent);
    if let Some(place) = named(around, &["MEMORY_FILE_PATH"]) {
        return match (place.path.is_absolute(), beside) {
            (false, Some(beside)) => Ok(Place { path: beside.join(&place.path), ..place }),
            (false, None) => Err(ask(around, "MEMORY_FILE_PATH is relative to where its package lies")),
            (true, _) => Ok(place),
        };
    }
    let file = Preset::ServerMemory.file();
    let found = beside.map(|beside| Place::new(beside.join(file), "it stands beside its program"));
    let found = found.filter(|place| (around.exists)(&place.path));
    let found = found.or_else(|| used(Preset::ServerMemory, around).map(|place| Place { path: place.path.join(file), ..place }));
    found.ok_or_else(|| {
        ask(around, "without MEMORY_FILE_PATH it lies in its package, which an update replaces; set that, or give the place")
    })
}

/// One SQLite file, in a directory of its own below the home unless a variable names either.
fn memory_service(around: &Around<'_>) -> Verb<Place> {
    let backend = (around.variable)("MCP_MEMORY_STORAGE_BACKEND").unwrap_or_default().to_lowercase();
    if matches!(backend.as_str(), "cloudflare" | "milvus") {
        return Err(ask(around, &format!("its storage is {backend}. Give the place, or back it up by a command")));
    }
    let place = named(around, &["MCP_MEMORY_SQLITE_PATH", "MCP_MEMORY_SQLITEVEC_PATH", "MCP_MEMORY_BASE_DIR"]);
    place.map_or_else(|| by_default(Preset::McpMemoryService, around, ".local/share/mcp-memory"), Ok)
}

/// Markdown in one directory, which is what counts, and a database made of it in another.
fn basic_memory(around: &Around<'_>) -> Verb<Place> {
    let notes = named(around, &["BASIC_MEMORY_HOME"]);
    let mut place = notes.map_or_else(|| by_default(Preset::BasicMemory, around, "basic-memory"), Ok)?;
    let index = match ((around.variable)("BASIC_MEMORY_CONFIG_DIR"), (around.variable)("XDG_CONFIG_HOME")) {
        (Some(dir), _) => PathBuf::from(dir),
        (None, Some(dir)) => Path::new(&dir).join("basic-memory"),
        (None, None) => home(around).join(".basic-memory"),
    };
    if index != place.path {
        place.more = Some(format!(
            "its projects and its index are in {}, which basic-memory reindex makes anew from the Markdown; to keep them too, add that as a \
             vault with --exclude fastembed_cache",
            index.display()
        ));
    }
    Ok(place)
}

/// A directory with `context.db` and what was exported.
fn memory_keeper(around: &Around<'_>) -> Verb<Place> {
    match named(around, &["DATA_DIR"]) {
        Some(place) if place.path.is_absolute() => Ok(place),
        Some(_) => Err(ask(around, "DATA_DIR is relative to where it is started")),
        None => by_default(Preset::MemoryKeeper, around, "mcp-data/memory-keeper"),
    }
}

fn by_default(preset: Preset, around: &Around<'_>, below: &str) -> Verb<Place> {
    let path = home(around).join(below);
    if (around.exists)(&path) {
        return Ok(Place::new(path, format!("the default of {}", preset.word())));
    }
    used(preset, around).ok_or_else(|| ask(around, &format!("no variable says so, and there is no {}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Server {
        name: &'static str,
        env: BTreeMap<&'static str, &'static str>,
        there: Vec<&'static str>,
        dirs: Vec<String>,
        command: Option<Vec<String>>,
        given: Option<&'static str>,
    }

    fn server() -> Server {
        let command = Some(vec!["npx".to_owned(), "-y".to_owned()]);
        Server { name: "memory", env: BTreeMap::new(), there: Vec::new(), dirs: Vec::new(), command, given: None }
    }

    impl Server {
        fn with(mut self, name: &'static str, value: &'static str) -> Self {
            self.env.insert(name, value);
            self
        }

        fn having(mut self, path: &'static str) -> Self {
            self.there.push(path);
            self
        }

        fn find(&self, preset: Preset) -> Verb<Found> {
            let around = Around {
                vault: self.name,
                server: "memory",
                own: Path::new("/data/vaults/memory"),
                command: self.command.as_deref(),
                dirs: &self.dirs,
                variable: &|name| self.env.get(name).map(|value| (*value).to_owned()),
                exists: &|path| self.there.iter().any(|there| Path::new(there) == path),
                given: self.given.map(Path::new),
            };
            find(preset, &around)
        }

        fn path(&self, preset: Preset) -> String {
            self.find(preset).unwrap().path.display().to_string()
        }

        fn asked(&self, preset: Preset) -> String {
            let fault = self.find(preset).unwrap_err();
            assert_eq!(fault.place.as_deref(), Some("path"), "{fault}");
            assert!(fault.message.contains("--path"), "{fault}");
            fault.message
        }
    }

    #[test]
    fn a_variable_of_the_server_says_where_its_memory_is() {
        use Preset::{BasicMemory, McpMemoryService, MemoryKeeper, ServerMemory};
        assert_eq!(server().with("MEMORY_FILE_PATH", "/srv/m.jsonl").path(ServerMemory), "/srv/m.jsonl");
        assert_eq!(server().with("MCP_MEMORY_SQLITE_PATH", "/srv/m.db").path(McpMemoryService), "/srv/m.db");
        let base = server().with("MCP_MEMORY_BASE_DIR", "/srv/mms").find(McpMemoryService).unwrap();
        assert_eq!((base.path.to_str(), base.exclude), (Some("/srv/mms"), vec!["backups".to_owned()]));
        assert!(base.notes[0].contains("MCP_MEMORY_BASE_DIR of memory says so"), "{:?}", base.notes);
        assert_eq!(server().with("DATA_DIR", "/srv/k").path(MemoryKeeper), "/srv/k");
        let basic = server().with("BASIC_MEMORY_HOME", "/srv/notes").with("HOME", "/home/x").find(BasicMemory).unwrap();
        assert!(basic.notes.iter().any(|note| note.contains("/home/x/.basic-memory")), "{:?}", basic.notes);
    }

    #[test]
    fn else_the_default_in_its_home_or_a_directory_it_may_use() {
        let home = |path| server().with("HOME", "/home/x").having(path);
        for (preset, path) in [
            (Preset::McpMemoryService, "/home/x/.local/share/mcp-memory"),
            (Preset::BasicMemory, "/home/x/basic-memory"),
            (Preset::MemoryKeeper, "/home/x/mcp-data/memory-keeper"),
        ] {
            assert_eq!(home(path).path(preset), path);
        }
        let mut used = server().having("/srv/k/context.db");
        used.dirs = vec!["/srv/other".into(), "/srv/k".into()];
        assert_eq!(used.path(Preset::MemoryKeeper), "/srv/k");
        let mut beside = server().having("/opt/m/dist/memory.jsonl");
        beside.command = Some(vec!["node".into(), "/opt/m/dist/index.js".into()]);
        assert_eq!(beside.path(Preset::ServerMemory), "/opt/m/dist/memory.jsonl");
        assert_eq!(beside.with("MEMORY_FILE_PATH", "other.jsonl").path(Preset::ServerMemory), "/opt/m/dist/other.jsonl");
    }

    #[test]
    fn what_cannot_be_told_is_asked_for_by_name() {
        for preset in Preset::ALL {
            server().asked(preset);
            let mut remote = server();
            remote.command = None;
            assert!(remote.asked(preset).contains("remote"));
            remote.given = Some("/mnt/copy");
            assert_eq!(remote.path(preset), "/mnt/copy");
            assert_eq!(Preset::from_word(preset.word()).unwrap(), preset);
        }
        server().with("MEMORY_FILE_PATH", "m.jsonl").asked(Preset::ServerMemory);
        server().with("DATA_DIR", "./data").asked(Preset::MemoryKeeper);
        assert!(server().with("MCP_MEMORY_STORAGE_BACKEND", "Cloudflare").asked(Preset::McpMemoryService).contains("cloudflare"));
        assert!(Preset::from_word("other").unwrap_err().message.contains("basic-memory, memory-keeper"));
    }

    #[test]
    fn what_lies_in_the_servers_own_folder_is_that_vault_without_its_caches() {
        let there = server().having("/data/vaults/memory/basic-memory");
        let found = there.find(Preset::BasicMemory).unwrap();
        assert_eq!(found.path, Path::new("/data/vaults/memory"));
        assert_eq!(found.exclude, [".cache", ".npm", "tmp", ".basic-memory/fastembed_cache"]);
        let mut other = there;
        other.name = "notes";
        let fault = other.find(Preset::BasicMemory).unwrap_err();
        assert_eq!(fault.place.as_deref(), Some("name"), "{fault}");
    }
}
