//! Resolves the name of a server to the addresses it may stand at, and to nothing else: what was checked is what is connected to, so a
//! name that is answered differently a moment later leads nowhere (DNS rebinding). Never connects.

use std::io::{Error, Result};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

use crate::base::address::Allowed;

/// A name server that takes longer is as good as none.
const WAIT: Duration = Duration::from_secs(2);
/// How long the last good answer may stand in for a name server that gives none.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// The name resolves to no address that is allowed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("its name leads to {0}, which is not allowed")]
pub struct AddressRefused(pub IpAddr);

type Looking = Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>>> + Send>>;
type Lookup = Arc<dyn Fn(String) -> Looking + Send + Sync>;

/// Resolves the name of one server to allowed addresses only.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    allowed: Allowed,
    lookup: Lookup,
    wait: Duration,
    last: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Resolver {
    /// By the system's resolver.
    pub fn new(allowed: Allowed) -> Self {
        let lookup =
            |name: String| -> Looking { Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) }) };
        Self::with(allowed, Arc::new(lookup), WAIT)
    }

    fn with(allowed: Allowed, lookup: Lookup, wait: Duration) -> Self {
        Self(Arc::new(Inner { allowed, lookup, wait, last: Mutex::default() }))
    }

    async fn resolve(self, name: String) -> Result<std::vec::IntoIter<SocketAddr>> {
        let found = match tokio::time::timeout(self.0.wait, (self.0.lookup)(name)).await {
            Ok(Ok(found)) => found,
            Ok(Err(fault)) => return self.0.remembered().ok_or(fault),
            Err(_) => return self.0.remembered().ok_or_else(|| Error::other("its name could not be resolved in time")),
        };
        let (kept, refused): (Vec<SocketAddr>, Vec<SocketAddr>) =
            found.into_iter().partition(|address| self.0.allowed.permits(address.ip()));
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        match (kept.is_empty(), refused.first()) {
            (true, Some(refused)) => {
                *last = None;
                Err(Error::other(AddressRefused(refused.ip())))
            }
            (true, None) => Err(Error::other("its name has no address")),
            (false, _) => {
                *last = Some((Instant::now(), kept.clone()));
                Ok(kept.into_iter())
            }
        }
    }
}

impl Inner {
    fn remembered(&self) -> Option<std::vec::IntoIter<SocketAddr>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(at, _)| at.elapsed() < REMEMBERED).map(|(_, addresses)| addresses.clone().into_iter())
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(self.clone().resolve(name.as_str().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers one thing after the other, then the last one for ever; `None` never answers.
    fn scripted(answers: Vec<Option<Result<Vec<&'static str>>>>) -> (Resolver, Arc<AtomicUsize>) {
        let (asked, count) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        let lookup = move |_: String| -> Looking {
            counted.fetch_add(1, Ordering::Relaxed);
            let at = asked.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            let answer = answers[at].as_ref().map(|answer| match answer {
                Ok(ips) => Ok(ips.iter().map(|ip| SocketAddr::new(ip.parse().expect("ip"), 0)).collect()),
                Err(fault) => Err(Error::from(fault.kind())),
            });
            Box::pin(async move {
                match answer {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            })
        };
        (Resolver::with(Allowed::default(), Arc::new(lookup), Duration::from_millis(50)), count)
    }

    async fn ask(resolver: &Resolver) -> std::result::Result<Vec<String>, String> {
        let found = resolver.clone().resolve("server.example".to_owned()).await;
        found.map(|all| all.map(|address| address.ip().to_string()).collect()).map_err(|fault| fault.to_string())
    }

    #[tokio::test]
    async fn atk_w02_a_name_that_turns_private_leads_nowhere() {
        let (resolver, count) =
            scripted(vec![Some(Ok(vec!["93.184.216.34", "127.0.0.1"])), Some(Ok(vec!["10.0.0.1"])), Some(Err(Error::other("x")))]);
        assert_eq!(ask(&resolver).await, Ok(vec!["93.184.216.34".to_owned()]), "only the public one of the two");
        let refused = ask(&resolver).await.expect_err("private");
        assert!(refused.contains("10.0.0.1"), "{refused}");
        assert!(ask(&resolver).await.is_err(), "what was good before is forgotten");
        assert_eq!(count.load(Ordering::Relaxed), 3, "every connection asks anew");
    }

    #[tokio::test]
    async fn flt_28_a_name_server_that_fails_or_hangs_is_bridged_by_the_last_good_answer() {
        let (resolver, _) = scripted(vec![Some(Ok(vec!["93.184.216.34"])), Some(Err(Error::other("no"))), None]);
        for _ in 0..3 {
            assert_eq!(ask(&resolver).await, Ok(vec!["93.184.216.34".to_owned()]));
        }
        let (resolver, _) = scripted(vec![None]);
        let began = Instant::now();
        assert!(ask(&resolver).await.expect_err("nothing to fall back on").contains("in time"));
        assert!(began.elapsed() >= Duration::from_millis(50));
    }
}
