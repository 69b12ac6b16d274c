#[cfg(test)] mod none {}
