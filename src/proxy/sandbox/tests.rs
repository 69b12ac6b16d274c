#[cfg(test)]
mod none {}
