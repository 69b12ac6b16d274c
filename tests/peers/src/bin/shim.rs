//! A plain-HTTP door on loopback to a Lifeboat's TLS door. See `lifeboat_peers::shim`.

use lifeboat_peers::flags::{Flags, fail};
use lifeboat_peers::shim;

#[tokio::main]
async fn main() {
    if let Err(error) = shim::run(&Flags::from_env()).await {
        fail(&format!("shim: {error}"));
    }
}
