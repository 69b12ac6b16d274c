//! Open-loop load against the proxy. See `lifeboat_peers::load` for its modes and output.

use lifeboat_peers::flags::{Flags, fail};
use lifeboat_peers::load;

#[tokio::main]
async fn main() {
    if let Err(error) = load::run(&Flags::from_env()).await {
        fail(&format!("load: {error}"));
    }
}
