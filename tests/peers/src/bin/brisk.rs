//! A fast MCP server for measuring proxies. See `lifeboat_peers::brisk` for its flags and paths.

use lifeboat_peers::brisk;
use lifeboat_peers::flags::{Flags, fail};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if let Err(error) = brisk::run(&Flags::from_env()).await {
        fail(&format!("brisk: {error}"));
    }
}
