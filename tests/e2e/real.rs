//! The real servers, registered as an operator registers them, and what a client may expect of each. Starts each of them once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Lifeboat, root, target, text, wait};
use crate::rig::{Running, everything_at, free_port, node_dir, python};

/// A call that every client makes. `WHO` stands for the client's name, `VAULT` for the server's own directory.
#[derive(Clone, Copy)]
pub struct Step {
    pub tool: &'static str,
    pub arguments: &'static str,
    /// What its text holds.
    pub says: &'static str,
    pub class: &'static str,
}

/// A call that takes long.
#[derive(Clone, Copy)]
pub struct Slow {
    pub tool: &'static str,
    pub arguments: &'static str,
}

/// A server and what it offers.
pub struct Real {
    pub name: &'static str,
    /// Whether it serves 2026-07-28 too. One whose process keeps the era of its first message does not: Lifeboat speaks the older one to it.
    pub modern: bool,
    /// How many tools a client without capabilities sees.
    pub tools: usize,
    pub read: Step,
    pub write: Option<Step>,
    /// Reports four steps, at least 100 ms apart.
    pub progress: Option<Slow>,
    /// Would take 20 s.
    pub long: Option<Slow>,
}

const fn read(tool: &'static str, arguments: &'static str, says: &'static str) -> Step {
    Step { tool, arguments, says, class: "read" }
}

const fn write(tool: &'static str, arguments: &'static str, says: &'static str, class: &'static str) -> Option<Step> {
    Some(Step { tool, arguments, says, class })
}

const fn slow(tool: &'static str, arguments: &'static str) -> Option<Slow> {
    Some(Slow { tool, arguments })
}

const ENTITY: &str = r#"{"entities":[{"name":"WHO","entityType":"client","observations":["was here"]}]}"#;
const TIME: &str = r#"{"source_timezone":"Europe/Zurich","time":"12:00","target_timezone":"Asia/Tokyo"}"#;

/// Every server.
pub const EVERY: [Real; 8] = [
    Real {
        name: "demo",
        modern: true,
        tools: 9,
        read: read("read_graph", "{}", "WHO"),
        write: write("create_entities", ENTITY, "created", "write"),
        progress: slow("slow_count", r#"{"seconds":1,"steps":4}"#),
        long: slow("slow_count", r#"{"seconds":20,"steps":4}"#),
    },
    Real {
        name: "everything",
        modern: false,
        tools: 13,
        read: read("echo", r#"{"message":"ahoy WHO"}"#, "ahoy WHO"),
        write: write("toggle-simulated-logging", "{}", "logging", "write"),
        progress: slow("trigger-long-running-operation", r#"{"duration":1,"steps":4}"#),
        long: slow("trigger-long-running-operation", r#"{"duration":20,"steps":4}"#),
    },
    Real {
        name: "memory",
        modern: false,
        tools: 9,
        read: read("read_graph", "{}", "WHO"),
        write: write("create_entities", ENTITY, "WHO", "write"),
        progress: None,
        long: None,
    },
    Real {
        name: "filesystem",
        modern: false,
        tools: 14,
        read: read("read_text_file", r#"{"path":"VAULT/WHO.txt"}"#, "hold fast, WHO"),
        write: write("write_file", r#"{"path":"VAULT/WHO.txt","content":"hold fast, WHO"}"#, "WHO.txt", "destructive"),
        progress: None,
        long: None,
    },
    Real {
        name: "git",
        modern: false,
        tools: 12,
        read: read("git_branch", r#"{"repo_path":"VAULT/repo","branch_type":"local"}"#, "WHO"),
        write: write("git_create_branch", r#"{"repo_path":"VAULT/repo","branch_name":"WHO"}"#, "WHO", "write"),
        progress: None,
        long: None,
    },
    Real {
        name: "time",
        modern: false,
        tools: 2,
        read: read("convert_time", TIME, "Asia/Tokyo"),
        write: None,
        progress: None,
        long: None,
    },
    // Says nothing of what its tools do, so that all of them count as destructive until an operator says otherwise.
    Real {
        name: "sqlite",
        modern: false,
        tools: 6,
        read: read("list_tables", "{}", "crew of WHO"),
        write: write("create_table", r#"{"query":"CREATE TABLE \"crew of WHO\" (name TEXT)"}"#, "created", "destructive"),
        progress: None,
        long: None,
    },
    Real {
        name: "fast",
        modern: true,
        tools: 8,
        read: read("recall", "{}", "WHO"),
        write: write("remember", r#"{"text":"WHO"}"#, "remembered WHO", "write"),
        progress: slow("count", r#"{"steps":4,"pause_ms":250}"#),
        long: slow("count", r#"{"steps":4,"pause_ms":5000}"#),
    },
];

/// Registers all of them; what runs outside of Lifeboat ends with the result.
pub fn raise(lifeboat: &Lifeboat) -> Vec<Running> {
    let fast_port = free_port();
    let fast = fast(fast_port, &[]);
    let everything_port = free_port();
    let everything = everything_at(everything_port);
    add_memory(lifeboat);
    add_filesystem(lifeboat);
    add_git(lifeboat);
    add_python(lifeboat, "time", &format!("{} --local-timezone UTC", venv_program("venv", "mcp-server-time").display()));
    add_sqlite(lifeboat);
    for (name, port) in [("everything", everything_port), ("fast", fast_port)] {
        let url = format!("http://127.0.0.1:{port}/mcp");
        wait(name, 30, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        lifeboat.json(&["server", "add", name, "--url", &url, "--plain-loopback"]);
    }
    vec![fast, everything]
}

/// `vaults/NAME`.
pub fn vault(lifeboat: &Lifeboat, name: &str) -> PathBuf {
    lifeboat.data().join("vaults").join(name)
}

/// The fastmcp server at a port; `changes` as its own documentation says.
pub fn fast(port: u16, changes: &[&str]) -> Running {
    python_server("fast_server.py", port, changes)
}

/// The server that checks by which Host it is called.
pub fn strict(port: u16) -> Running {
    python_server("strict_server.py", port, &[])
}

fn python_server(script: &str, port: u16, more: &[&str]) -> Running {
    let child = Command::new(python())
        .arg(root().join("tests/e2e/servers").join(script))
        .arg(port.to_string())
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Running(child.unwrap())
}

/// server-filesystem in its vault.
pub fn add_filesystem(lifeboat: &Lifeboat) {
    let vault = vault(lifeboat, "filesystem");
    add_node(lifeboat, "filesystem", &format!("node {} {}", node_script("server-filesystem").display(), vault.display()), &[]);
}

/// server-memory with its memory in its vault.
pub fn add_memory(lifeboat: &Lifeboat) {
    let file = vault(lifeboat, "memory").join("memory.jsonl");
    let env = lifeboat.secret_file("memory.env", &format!("MEMORY_FILE_PATH={}\n", file.display()));
    let command = format!("node {}", node_script("server-memory").display());
    add_node(lifeboat, "memory", &command, &["--env-file", env.to_str().unwrap()]);
}

fn add_node(lifeboat: &Lifeboat, name: &str, command: &str, more: &[&str]) {
    lifeboat.json(&[&["server", "add", name, "--stdio", command], more].concat());
}

fn add_git(lifeboat: &Lifeboat) {
    add_python(lifeboat, "git", &venv_program("venv", "mcp-server-git").display().to_string());
    // Made outside, where it surely belongs to the one who makes it: git touches no other.
    let repo = lifeboat.home().join("repo");
    std::fs::create_dir(&repo).unwrap();
    let git = |words: &[&str]| {
        let names = ["-c", "user.name=e2e", "-c", "user.email=e2e@localhost", "-c", "init.defaultBranch=main"];
        let done = Command::new("git").args(names).args(words).current_dir(&repo).output().unwrap();
        assert!(done.status.success(), "git {words:?}: {}", text(&done.stderr));
    };
    git(&["init", "--quiet"]);
    git(&["commit", "--quiet", "--allow-empty", "-m", "begin"]);
    let kept = vault(lifeboat, "git").join("repo");
    std::fs::rename(&repo, &kept).unwrap();
    hand_over(&kept);
}

/// Gives a tree inside a vault to the account that the vault belongs to.
fn hand_over(tree: &Path) {
    let vault = tree.parent().unwrap();
    let done = Command::new("chown").arg("-R").arg("--reference").arg(vault).arg(tree).status().unwrap();
    assert!(done.success());
}

fn add_sqlite(lifeboat: &Lifeboat) {
    let file = vault(lifeboat, "sqlite").join("ship.db");
    let program = venv_program("venv-mcp1", "mcp-server-sqlite");
    add_python(lifeboat, "sqlite", &format!("{} --db-path {}", program.display(), file.display()));
    lifeboat.json(&["tool", "class", "sqlite/list_tables", "read"]);
}

fn add_python(lifeboat: &Lifeboat, name: &str, command: &str) {
    lifeboat.json(&["server", "add", name, "--stdio", command]);
}

fn node_script(package: &str) -> PathBuf {
    node_dir().join("node_modules/@modelcontextprotocol").join(package).join("dist/index.js")
}

fn venv_program(venv: &str, program: &str) -> PathBuf {
    let path = target().join("e2e").join(venv).join("bin").join(program);
    assert!(path.exists(), "{} is missing: tests/run installs it", path.display());
    path
}
