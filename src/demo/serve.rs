//! Reads requests, answers each, in both eras at once: the handshake is remembered, and what a request carries decides its era.
//! A line that is no message gets an error and nothing more.

use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::answer::{self, Era, Fault, LEGACY, MODERN};
use super::calls::{SlowCall, SlowCalls};
use super::memory::Memory;
use super::stand_in::{self, StandIn};
use super::tools::{self, SLOW, Slow};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const LONGEST_LINE: u64 = 4 << 20;
const QUEUE: usize = 64;

/// Runs the demo server on standard input and output until input ends; the exit status. Makes a runtime of its own.
pub fn run(memory: PathBuf) -> u8 {
    on_standard_streams("demo server", || Memory::open(memory).map(Offer::Memory))
}

/// The same for whatever is offered.
pub(super) fn on_standard_streams(name: &str, open: impl FnOnce() -> io::Result<Offer>) -> u8 {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return 1 };
    let served = runtime.block_on(async {
        let offer = open()?;
        serve_offer(tokio::io::BufReader::new(tokio::io::stdin()), tokio::io::stdout(), offer).await
    });
    // A read of standard input cannot be taken back; without this the process would wait for it.
    runtime.shutdown_background();
    match served {
        Ok(()) => 0,
        Err(fault) => {
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("lifeboat {name}: {fault}\n"));
            1
        }
    }
}

/// Serves one connection with the memory in that file.
///
/// # Errors
/// The memory cannot be read, or the output is closed.
pub async fn serve(input: impl AsyncBufRead + Unpin, output: impl AsyncWrite + Unpin, memory: PathBuf) -> io::Result<()> {
    serve_offer(input, output, Offer::Memory(Memory::open(memory)?)).await
}

/// What stands behind the wire.
pub(super) enum Offer {
    /// The tools of the demo.
    Memory(Memory),
    /// Those of another server.
    StandIn(StandIn),
}

pub(super) async fn serve_offer(input: impl AsyncBufRead + Unpin, output: impl AsyncWrite + Unpin, offer: Offer) -> io::Result<()> {
    let (out, lines) = mpsc::channel(QUEUE);
    let server = Server { offer, out, slow: SlowCalls::default(), tasks: JoinSet::new() };
    tokio::select! {
        // All that was begun is answered before the end.
        written = write(lines, output) => written,
        read = async { server.read(input).await?; std::future::pending().await } => read,
    }
}

async fn write(mut lines: mpsc::Receiver<Value>, mut output: impl AsyncWrite + Unpin) -> io::Result<()> {
    while let Some(line) = lines.recv().await {
        let mut text = line.to_string();
        text.push('\n');
        output.write_all(text.as_bytes()).await?;
        output.flush().await?;
    }
    Ok(())
}

struct Server {
    offer: Offer,
    out: mpsc::Sender<Value>,
    slow: SlowCalls,
    tasks: JoinSet<()>,
}

/// One request, its envelope checked.
struct Request<'a> {
    id: Value,
    method: &'a str,
    params: &'a Map<String, Value>,
    era: Era,
}

impl Server {
    async fn read(mut self, mut input: impl AsyncBufRead + Unpin) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut limited = tokio::io::AsyncReadExt::take(&mut input, LONGEST_LINE);
            if limited.read_until(b'\n', &mut line).await? == 0 {
                break;
            }
            if line.last() != Some(&b'\n') && line.len() as u64 == LONGEST_LINE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                self.take(&line).await;
            }
            while self.tasks.try_join_next().is_some() {}
        }
        self.tasks.shutdown().await;
        Ok(())
    }

    async fn take(&mut self, line: &[u8]) {
        let Ok(message) = serde_json::from_slice::<Value>(line) else {
            return self.answer(&Value::Null, Err(Fault::new(-32700, "this is no JSON"))).await;
        };
        let id = message.get("id").cloned();
        let valid_id = id.as_ref().is_none_or(|id| id.is_string() || id.is_i64() || id.is_u64());
        let none = Map::new();
        let params = match message.get("params") {
            None => Some(&none),
            Some(params) => params.as_object(),
        };
        let method = message.get("method").and_then(Value::as_str);
        let (Some(method), Some(params), true, Some("2.0")) =
            (method, params, valid_id, message.get("jsonrpc").and_then(Value::as_str))
        else {
            let is_response = message.get("result").is_some() || message.get("error").is_some();
            if !is_response {
                let id = id.filter(|_| valid_id).unwrap_or(Value::Null);
                self.answer(&id, Err(Fault::new(-32600, "this is no request"))).await;
            }
            return;
        };
        let Some(id) = id else {
            if method == "notifications/cancelled"
                && let Some(call) = params.get("requestId")
            {
                self.slow.cancel(call);
            }
            return;
        };
        match era_of(params, method) {
            Ok(era) => self.request(Request { id, method, params, era }).await,
            Err(fault) => self.answer(&id, Err(fault)).await,
        }
    }

    async fn answer(&self, id: &Value, outcome: Result<Value, Fault>) {
        // A closed output ends the server by the writer.
        let _ = self.out.send(answer::response(id, outcome)).await;
    }

    async fn request(&mut self, request: Request<'_>) {
        let outcome = match (request.method, request.era) {
            ("initialize", Era::Legacy) => Ok(initialize(request.params, self.about())),
            ("ping", Era::Legacy) => Ok(json!({})),
            ("server/discover", Era::Modern) => Ok(discover(self.about())),
            ("tools/list", era) => Ok(answer::cacheable(era, Map::from_iter([("tools".to_owned(), Value::Array(self.tools()))]))),
            ("tools/call", _) => match self.call(&request) {
                Some(outcome) => outcome,
                None => return,
            },
            (method, _) => Err(Fault::unknown_method(method)),
        };
        self.answer(&request.id, outcome).await;
    }

    fn tools(&self) -> Vec<Value> {
        match &self.offer {
            Offer::Memory(_) => tools::definitions(),
            Offer::StandIn(stand_in) => stand_in.definitions(),
        }
    }

    fn about(&self) -> &'static str {
        match &self.offer {
            Offer::Memory(_) => ABOUT,
            Offer::StandIn(_) => stand_in::ABOUT,
        }
    }

    /// Calls a tool; a slow one answers later by itself.
    fn call(&mut self, request: &Request<'_>) -> Option<Result<Value, Fault>> {
        let era = request.era;
        let Some(name) = request.params.get("name").and_then(Value::as_str) else {
            return Some(Err(Fault::invalid_params("params.name is missing")));
        };
        let unknown = || Some(Err(Fault::invalid_params(format!("there is no tool {name}"))));
        let memory = match &mut self.offer {
            Offer::StandIn(stand_in) if stand_in.has(name) => return Some(Ok(StandIn::answer(era))),
            Offer::Memory(memory) if tools::exists(name) => memory,
            _ => return unknown(),
        };
        let arguments = request.params.get("arguments").cloned().unwrap_or_else(|| json!({}));
        if name != SLOW {
            return Some(Ok(answer::tool_result(era, tools::perform(memory, name, &arguments))));
        }
        match Slow::from(&arguments) {
            Err(why) => Some(Ok(answer::tool_result(era, Err(why)))),
            Ok(slow) => {
                let token = request.params.get("_meta").and_then(|meta| meta.get("progressToken")).cloned();
                let call = SlowCall { era, id: request.id.clone(), token, stop: self.slow.begin(&request.id) };
                self.tasks.spawn(self.slow.clone().count(slow, call, self.out.clone()));
                None
            }
        }
    }
}

/// A request that names its version is modern; the handshake and its kind never do.
fn era_of(params: &Map<String, Value>, method: &str) -> Result<Era, Fault> {
    match params.get("_meta").and_then(|meta| meta.get(VERSION)) {
        None if method == "server/discover" => Err(Fault::invalid_params(format!("params._meta[\"{VERSION}\"] is missing"))),
        None => Ok(Era::Legacy),
        Some(Value::String(version)) if version == MODERN => Ok(Era::Modern),
        Some(Value::String(version)) => Err(Fault::unsupported_version(version)),
        Some(_) => Err(Fault::invalid_params(format!("params._meta[\"{VERSION}\"] is no string"))),
    }
}

fn initialize(params: &Map<String, Value>, about: &str) -> Value {
    let asked = params.get("protocolVersion").and_then(Value::as_str);
    let version = LEGACY.into_iter().find(|known| Some(*known) == asked).unwrap_or(LEGACY[0]);
    json!({"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": answer::server_info(), "instructions": about})
}

const ABOUT: &str = "A small knowledge memory to try Lifeboat with: entities, relations and notes.";

fn discover(about: &str) -> Value {
    let versions: Vec<&str> = std::iter::once(MODERN).chain(LEGACY).collect();
    let members = [
        ("supportedVersions".to_owned(), json!(versions)),
        ("capabilities".to_owned(), json!({"tools": {}})),
        ("instructions".to_owned(), json!(about)),
    ];
    answer::cacheable(Era::Modern, Map::from_iter(members))
}
