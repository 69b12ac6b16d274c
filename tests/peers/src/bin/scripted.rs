//! A scripted MCP server over plain HTTP on loopback. See `lifeboat_peers::scripted` for its tools, faults and receive log.

use lifeboat_peers::flags::{Flags, fail};
use lifeboat_peers::scripted;

#[tokio::main]
async fn main() {
    if let Err(error) = scripted::run(&Flags::from_env()).await {
        fail(&format!("scripted: {error}"));
    }
}
