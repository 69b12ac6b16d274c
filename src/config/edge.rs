//! The edge as `lifeboat.toml` describes it: public names, browser origins, balancers in front, certificates, further listeners. Strings
//! become types here; never opens a socket.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::is_host;
use super::settings::Settings;
use crate::base::net::Network;

/// Why a setting of the edge is refused; becomes the fault of its line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

macro_rules! text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = Unfit;

            fn try_from(text: String) -> Result<Self, Unfit> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.as_str().to_owned()
            }
        }
    };
}

/// How the world reaches a listener: `https://HOST` or `https://HOST:PORT`, and nothing after it. Used byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl {
    text: String,
    host: String,
}
text!(PublicUrl);

impl PublicUrl {
    fn parse(text: String) -> Result<Self, Unfit> {
        let wrong = || Unfit(format!("\"{text}\" must be https://HOST or https://HOST:PORT, in lower case, with nothing after it"));
        let authority = text.strip_prefix("https://").ok_or_else(wrong)?;
        let (host, _) = split_authority(authority).ok_or_else(wrong)?;
        let host = host.to_owned();
        Ok(Self { text, host })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host without port and brackets.
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// A page that may use the proxy from a browser, as its `Origin` header names it: `https://HOST[:PORT]`, or `http://` on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct BrowserOrigin(String);
text!(BrowserOrigin);

impl BrowserOrigin {
    fn parse(text: String) -> Result<Self, Unfit> {
        let wrong = |why: &str| Unfit(format!("\"{text}\" {why}"));
        let (scheme, authority) = text.split_once("://").ok_or_else(|| wrong("must be https://HOST or https://HOST:PORT"))?;
        let (host, port) = split_authority(authority).ok_or_else(|| wrong("must be https://HOST or https://HOST:PORT"))?;
        let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match (scheme, port) {
            ("https", Some(443)) | ("http", Some(80)) => Err(wrong("must leave the usual port out, as browsers do")),
            ("https", _) => Ok(Self(text)),
            ("http", _) if is_local => Ok(Self(text)),
            ("http", _) => Err(wrong("must be https: whoever stands between could write that page; http is for localhost")),
            _ => Err(wrong("must be https://HOST or https://HOST:PORT")),
        }
    }

    /// As browsers send it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who is believed when it says whom it speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub enum TrustedProxy {
    /// Peers with an address in this range.
    Range(Network),
    /// Peers at the unix sockets of `listen.plain`; the sockets' modes say who that can be.
    Socket,
}

const SOCKETS: &str = "unix:";

impl TryFrom<String> for TrustedProxy {
    type Error = Unfit;

    fn try_from(text: String) -> Result<Self, Unfit> {
        if text == SOCKETS {
            return Ok(Self::Socket);
        }
        text.parse().map(Self::Range).map_err(|fault: crate::base::net::NoNetwork| Unfit(fault.to_string()))
    }
}

impl From<TrustedProxy> for String {
    fn from(trusted: TrustedProxy) -> Self {
        match trusted {
            TrustedProxy::Range(network) => network.to_string(),
            TrustedProxy::Socket => SOCKETS.into(),
        }
    }
}

/// Whether connections begin with a PROXY protocol header of version 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyProtocol {
    /// None is read.
    #[default]
    Off,
    /// `trusted_proxies` may send one.
    OptionalFromTrusted,
    /// Every connection must, and must come from `trusted_proxies`.
    Required,
}

/// `listen.proxy_protocol`: one value for each listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyProtocols {
    /// Of the dashboard's listener.
    pub admin: ProxyProtocol,
    /// Of the proxy's listener.
    pub proxy: ProxyProtocol,
}

/// Where a balancer on this host that ends TLS itself may connect in plain HTTP: a loopback address with port, or `unix:/PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub enum PlainAddress {
    /// An address of loopback.
    Loopback(SocketAddr),
    /// A unix socket.
    Socket(PathBuf),
}

impl TryFrom<String> for PlainAddress {
    type Error = Unfit;

    fn try_from(text: String) -> Result<Self, Unfit> {
        if let Some(path) = text.strip_prefix(SOCKETS) {
            let fits = path.starts_with('/') && !path.ends_with('/') && path.len() <= 100;
            let wrong = || Unfit(format!("\"{text}\" must be unix: and an absolute path of at most 100 bytes"));
            return if fits { Ok(Self::Socket(path.into())) } else { Err(wrong()) };
        }
        let wrong = |why: &str| Unfit(format!("\"{text}\" {why}"));
        let address: SocketAddr = text.parse().map_err(|_| wrong("must be a loopback ADDRESS:PORT or unix:/PATH"))?;
        if !address.ip().to_canonical().is_loopback() {
            return Err(wrong("is no loopback address: without TLS only this host is served; let the balancer speak TLS to it"));
        }
        Ok(Self::Loopback(address))
    }
}

impl From<PlainAddress> for String {
    fn from(address: PlainAddress) -> Self {
        match address {
            PlainAddress::Loopback(address) => address.to_string(),
            PlainAddress::Socket(path) => format!("{SOCKETS}{}", path.display()),
        }
    }
}

/// `listen.plain`: listeners without TLS for a balancer on this host; none unless they are named here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Plain {
    /// For the dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<PlainAddress>,
    /// For the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<PlainAddress>,
}

/// `tls`: a certificate of an organisation's own or of any ACME client, instead of one of Lifeboat's own CA.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The chain in PEM, its own certificate first. An absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// The private key in PEM. An absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl Settings {
    /// Whether the proxy answers to this name (without port and brackets).
    pub fn proxy_answers_to(&self, name: &str) -> bool {
        answers_to(&self.listen.hosts, self.public_url.as_ref(), name)
    }

    /// Whether the dashboard answers to this name (without port and brackets).
    pub fn dashboard_answers_to(&self, name: &str) -> bool {
        answers_to(&self.listen.hosts, self.dashboard_url.as_ref(), name)
    }

    /// Every name that a certificate for this deployment should carry: the hosts, then those of the public URLs.
    pub fn certificate_names(&self) -> Vec<String> {
        let mut names = self.listen.hosts.clone();
        for url in [&self.public_url, &self.dashboard_url].into_iter().flatten() {
            if !names.iter().any(|name| name == url.host()) {
                names.push(url.host().to_owned());
            }
        }
        names
    }

    /// Whether a page of this origin may use the proxy from a browser.
    pub fn allows_origin(&self, origin: &str) -> bool {
        self.allowed_origins.iter().any(|allowed| allowed.as_str() == origin)
    }

    /// Whether a peer with this address is believed when it says whom it speaks for.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|trusted| matches!(trusted, TrustedProxy::Range(network) if network.holds(ip)))
    }

    /// Whether peers at the unix sockets are believed.
    pub fn trusts_sockets(&self) -> bool {
        self.trusted_proxies.contains(&TrustedProxy::Socket)
    }
}

fn answers_to(hosts: &[String], public: Option<&PublicUrl>, name: &str) -> bool {
    let is = |host: &str| host.trim_matches(['[', ']']).eq_ignore_ascii_case(name);
    !name.is_empty() && (hosts.iter().any(|host| is(host)) || public.is_some_and(|url| is(url.host())))
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`; the host comes without brackets.
fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => {
            let at = authority.find(':').unwrap_or(authority.len());
            let (host, rest) = authority.split_at(at);
            is_host(host).then_some((host, rest))?
        }
    };
    if rest.is_empty() {
        return Some((host, None));
    }
    let port = rest.strip_prefix(':').filter(|port| !port.starts_with(['0', '+']))?;
    Some((host, Some(port.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Settings, String> {
        toml::from_str(text).map_err(|fault| fault.message().to_owned())
    }

    #[test]
    fn a_public_url_is_kept_byte_for_byte() {
        for (text, host) in [
            ("https://mcp.example.com", "mcp.example.com"),
            ("https://mcp.example.com:443", "mcp.example.com"),
            ("https://10.1.2.3:8444", "10.1.2.3"),
            ("https://[fd00::1]:8444", "fd00::1"),
        ] {
            let url = PublicUrl::parse(text.to_owned()).unwrap();
            assert_eq!((url.as_str(), url.host()), (text, host));
        }
        for bad in [
            "http://mcp.example.com",
            "https://mcp.example.com/",
            "https://mcp.example.com/mcp",
            "https://mcp.example.com?x",
            "https://ana@mcp.example.com",
            "https://MCP.example.com",
            "https://mcp.example.com:0",
            "https://mcp.example.com:",
            "https://[fd00::1",
            "https://fd00::1",
            "https://",
            "mcp.example.com",
        ] {
            assert!(PublicUrl::parse(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn pit_26_an_origin_is_what_browsers_send() {
        for good in ["https://app.example.com", "https://app.example.com:8443", "http://localhost:6274", "http://127.0.0.1:6274"] {
            assert_eq!(BrowserOrigin::parse(good.to_owned()).unwrap().as_str(), good);
        }
        for bad in [
            "*",
            "null",
            "https://app.example.com/",
            "https://APP.example.com",
            "https://app.example.com:443",
            "http://app.example.com",
            "http://localhost:80",
            "file://x",
            "https://*.example.com",
            "",
        ] {
            assert!(BrowserOrigin::parse(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_http_is_for_this_host_alone() {
        for good in ["127.0.0.1:8080", "[::1]:8080", "127.0.0.9:1", "unix:/run/lifeboat/proxy.sock"] {
            let address = PlainAddress::try_from(good.to_owned()).unwrap();
            assert_eq!(String::from(address), good);
        }
        for bad in ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080", "localhost:8080", "unix:run/x", "unix:", "127.0.0.1", ""] {
            assert!(PlainAddress::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_ranges_and_origins_come_from_the_settings() {
        let text = "public_url = \"https://mcp.example.com\"\ndashboard_url = \"https://ops.example.com\"\n\
                    allowed_origins = [\"https://app.example.com\"]\ntrusted_proxies = [\"10.0.0.0/8\", \"unix:\"]\n\
                    [listen.proxy_protocol]\nproxy = \"required\"\nadmin = \"optional-from-trusted\"\n";
        let read = settings(text).unwrap();
        assert!(read.proxy_answers_to("mcp.example.com") && read.proxy_answers_to("LOCALHOST") && read.proxy_answers_to("::1"));
        assert!(!read.proxy_answers_to("ops.example.com") && !read.proxy_answers_to(""));
        assert!(read.dashboard_answers_to("ops.example.com") && !read.dashboard_answers_to("mcp.example.com"));
        assert_eq!(read.certificate_names(), ["localhost", "127.0.0.1", "::1", "mcp.example.com", "ops.example.com"]);
        assert!(read.trusts("10.2.3.4".parse().unwrap()) && !read.trusts("127.0.0.1".parse().unwrap()) && read.trusts_sockets());
        assert!(read.allows_origin("https://app.example.com") && !read.allows_origin("https://app.example.com:443"));
        let again = settings(&read.to_toml().unwrap()).unwrap();
        assert_eq!(again, read, "what is written reads the same");
    }
}
