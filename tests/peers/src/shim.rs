//! A plain-HTTP door on loopback to a Lifeboat's TLS door, for programs that can neither trust a CA nor send a key. Each connection is one TLS
//! connection, and every byte passes as it came, but for two lines of a request's head: Host and Origin where they name the shim itself. A
//! bearer line is added where a key is given. Never waits for the end of anything, and never shows the key.
//!
//! Flags: `--to 127.0.0.1:PORT`, `--ca FILE`; the key stands in LIFEBOAT_KEY, or there is none. Prints `listening 127.0.0.1:PORT`.

use std::io::{Error, ErrorKind, Result};
use std::net::Ipv4Addr;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::{TcpListener, TcpStream};

use crate::flags::Flags;
use crate::tls::Dialer;

/// No head of the suite comes near.
const HEAD_LIMIT: usize = 64 << 10;

/// What is written into each head.
#[derive(Clone)]
struct Rewrite {
    own: String,
    theirs: String,
    key: Option<String>,
}

/// Serves until the process ends.
pub async fn run(flags: &Flags) -> Result<()> {
    let dialer = Dialer::new(flags.need("to"), Path::new(flags.need("ca")), &[])?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    println!("listening {address}");
    let key = std::env::var("LIFEBOAT_KEY").ok();
    let rewrite = Rewrite { own: format!("localhost:{}", address.port()), theirs: dialer.authority().to_owned(), key };
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (dialer, rewrite) = (dialer.clone(), rewrite.clone());
        tokio::spawn(async move {
            if let Err(error) = pass(stream, &dialer, &rewrite).await
                && !matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
            {
                eprintln!("shim: {error}");
            }
        });
    }
}

/// One connection. The end of either side is the end of both: a client that leaves is how the modern era cancels.
async fn pass(stream: TcpStream, dialer: &Dialer, rewrite: &Rewrite) -> Result<()> {
    let (mut from_client, mut to_client) = stream.into_split();
    let (mut from_proxy, mut to_proxy) = split(dialer.dial().await?);
    tokio::select! {
        ended = requests(&mut from_client, &mut to_proxy, rewrite) => ended,
        ended = answers(&mut from_proxy, &mut to_client) => ended,
    }
}

async fn answers(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
    copy(from, to).await?;
    to.shutdown().await
}

async fn requests(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), rewrite: &Rewrite) -> Result<()> {
    let mut held = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = held.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if held.len() > HEAD_LIMIT {
                return Err(Error::new(ErrorKind::InvalidData, "the head of a request is too long"));
            }
            if from.read_buf(&mut held).await? == 0 {
                return Ok(());
            }
        };
        let rest = held.split_off(end);
        let (head, length) = rewrite.head(&held)?;
        to.write_all(&head).await?;
        held = rest;
        let mut missing = length;
        while missing > 0 {
            if held.is_empty() && from.read_buf(&mut held).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let part = held.len().min(missing);
            to.write_all(&held[..part]).await?;
            held.drain(..part);
            missing -= part;
        }
        to.flush().await?;
    }
}

impl Rewrite {
    /// The head as it goes on, and the length of the body behind it.
    fn head(&self, head: &[u8]) -> Result<(Vec<u8>, usize)> {
        let mut out = Vec::with_capacity(head.len() + 128);
        let mut length = 0;
        for (at, line) in head.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                break;
            }
            let (name, value) = match line.iter().position(|byte| *byte == b':') {
                Some(colon) if at > 0 => (&line[..colon], String::from_utf8_lossy(&line[colon + 1..]).trim().to_owned()),
                _ => (&line[..0], String::new()),
            };
            match name.to_ascii_lowercase().as_slice() {
                b"host" if value == self.own => put(&mut out, name, &self.theirs),
                b"origin" if value == format!("http://{}", self.own) => put(&mut out, name, &format!("https://{}", self.theirs)),
                b"authorization" => {}
                b"transfer-encoding" => return Err(Error::new(ErrorKind::Unsupported, "a chunked request")),
                other => {
                    if other == b"content-length" {
                        length = value.parse().map_err(|_| Error::new(ErrorKind::InvalidData, "Content-Length"))?;
                    }
                    out.extend_from_slice(line);
                    out.extend_from_slice(b"\r\n");
                }
            }
        }
        if let Some(key) = &self.key {
            put(&mut out, b"Authorization", &format!("Bearer {key}"));
        }
        out.extend_from_slice(b"\r\n");
        Ok((out, length))
    }
}

fn put(out: &mut Vec<u8>, name: &[u8], value: &str) {
    out.extend_from_slice(name);
    out.extend_from_slice(format!(": {value}\r\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::Rewrite;

    fn rewrite() -> Rewrite {
        Rewrite { own: "localhost:1".to_owned(), theirs: "127.0.0.1:2".to_owned(), key: Some("k".to_owned()) }
    }

    #[test]
    fn case_order_and_blanks_of_a_head_stay() {
        let head = b"POST /mcp HTTP/1.1\r\nHOST: localhost:1\r\nmCp-NaMe:   x  \r\nOrigin: http://localhost:1\r\nContent-Length: 12\r\n\r\n";
        let (out, length) = rewrite().head(head).unwrap();
        let wanted = "POST /mcp HTTP/1.1\r\nHOST: 127.0.0.1:2\r\nmCp-NaMe:   x  \r\nOrigin: https://127.0.0.1:2\r\nContent-Length: 12\r\nAuthorization: Bearer k\r\n\r\n";
        assert_eq!((String::from_utf8(out).unwrap().as_str(), length), (wanted, 12));
    }

    #[test]
    fn a_foreign_name_goes_on_as_it_came() {
        let head = b"GET / HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n\r\n";
        let (out, length) = rewrite().head(head).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("Host: evil.example\r\n") && out.contains("Origin: http://evil.example\r\n") && length == 0, "{out}");
    }
}
